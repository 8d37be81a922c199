//! The audit log: what happened around identity and permission. It is only
//! ever added to.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    accounts::AuthMethod,
    ids::{AuditId, UserId},
    permissions::words,
};

words! {
    /// What somebody did.
    AuditAction {
        /// Signed in, or tried to.
        SignIn = "sign-in",
        /// Signed out.
        SignOut = "sign-out",
        /// Proved once more who they are, before something that matters.
        StepUp = "step-up",
        /// Ended sessions, their own or somebody's.
        EndSession = "session.end",
        /// An identity provider ended sessions (back-channel logout).
        ProviderSignOut = "session.end-by-provider",
        /// Created an account.
        CreateAccount = "account.create",
        /// Disabled an account: sessions and tokens ended.
        DisableAccount = "account.disable",
        /// Enabled an account again.
        EnableAccount = "account.enable",
        /// Changed a password.
        ChangePassword = "password.change",
        /// Asked for a link to set a new password.
        AskReset = "password.ask-reset",
        /// Set a new password by such a link.
        ResetPassword = "password.reset",
        /// Asked to change the e-mail address.
        AskEmail = "email.ask-change",
        /// Changed the e-mail address.
        ChangeEmail = "email.change",
        /// Proved that an e-mail address is theirs.
        VerifyEmail = "email.verify",
        /// Added a passkey.
        AddPasskey = "passkey.add",
        /// Renamed a passkey.
        RenamePasskey = "passkey.rename",
        /// Removed a passkey.
        RemovePasskey = "passkey.remove",
        /// A passkey whose counter went backwards was refused: it may have been copied.
        SuspectPasskey = "passkey.suspect",
        /// Set up an app for one-time codes.
        AddCodes = "codes.add",
        /// Removed the app for one-time codes.
        RemoveCodes = "codes.remove",
        /// Made recovery codes; those before are dead.
        MakeRecoveryCodes = "recovery.make",
        /// Used a recovery code.
        UseRecoveryCode = "recovery.use",
        /// Linked an account elsewhere.
        LinkAccount = "link.add",
        /// Removed the link to an account elsewhere.
        UnlinkAccount = "link.remove",
        /// Created a token.
        CreateToken = "token.create",
        /// Revoked a token.
        RevokeToken = "token.revoke",
        /// Allowed or refused the login of a command line.
        DecideDevice = "device.decide",
        /// Invited somebody.
        Invite = "invitation.create",
        /// Took an invitation back.
        RevokeInvitation = "invitation.revoke",
        /// Accepted an invitation.
        AcceptInvitation = "invitation.accept",
        /// Added a member.
        AddMember = "member.add",
        /// Gave a member another role.
        ChangeRole = "member.role",
        /// Removed a member.
        RemoveMember = "member.remove",
        /// Changed what sign-in takes.
        ChangePolicy = "policy.change",
        /// Created an organisation.
        CreateOrg = "org.create",
        /// Deleted an organisation.
        DeleteOrg = "org.delete",
        /// Deleted a project.
        DeleteProject = "project.delete",
        /// Created a token with which machines become runners.
        CreateRunnerToken = "runner-token.create",
        /// Revoked such a token.
        RevokeRunnerToken = "runner-token.revoke",
        /// A machine became a runner.
        RegisterRunner = "runner.register",
        /// Revoked a runner.
        RevokeRunner = "runner.revoke",
        /// Made a new key to sign with.
        RotateKey = "key.rotate",
    }
}

words! {
    /// What came of it.
    AuditOutcome {
        /// It was done.
        Success = "success",
        /// It was refused.
        Refused = "refused",
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// The id; later entries have greater ones.
    pub id: AuditId,
    /// When.
    pub at: DateTime<Utc>,
    /// What was done.
    pub action: AuditAction,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// Who did it, if they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<UserId>,
    /// Who did it, by e-mail address; empty if nobody knows.
    pub actor: String,
    /// Whose account it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<UserId>,
    /// Whose account it is about, by e-mail address; empty if about none.
    pub subject: String,
    /// The organisation that it is about, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<crate::ids::OrgId>,
    /// With which proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<AuthMethod>,
    /// What else identifies it: a name, a provider, an address.
    pub target: String,
    /// From which network address.
    pub ip: String,
    /// With which program, in its own words.
    pub user_agent: String,
}
