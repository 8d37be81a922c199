//! Hardware virtualisation where it works, emulation where not.

use std::{os::unix::fs::MetadataExt as _, time::Duration};

use super::{MachineError, host::Host};

/// What executes a machine's instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor.
    Kvm {
        /// The group that may open `/dev/kvm`.
        group: Option<u32>,
    },
    /// QEMU itself.
    Tcg,
}

impl Accelerator {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Kvm { .. } => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Finds out by trying: that `/dev/kvm` is there says nothing.
    pub(super) async fn choose(wish: &str, host: &Host) -> Result<Self, MachineError> {
        if !matches!(wish, "auto" | "kvm" | "tcg") {
            return Err(MachineError::UnknownAccelerator(wish.to_owned()));
        }
        if wish == "tcg" {
            tracing::info!("machines are emulated (tcg), as configured");
            return Ok(Self::Tcg);
        }
        match Self::try_kvm(host).await {
            Ok(kvm) => {
                tracing::info!("machines use hardware virtualisation (kvm)");
                Ok(kvm)
            }
            Err(why) => {
                if wish == "kvm" {
                    return Err(MachineError::NoKvm(why));
                }
                tracing::info!(why, "machines are emulated (tcg), which is slow: KVM cannot be used");
                Ok(Self::Tcg)
            }
        }
    }

    /// Makes a machine with the processor and ends it.
    pub(super) async fn try_kvm(host: &Host) -> Result<Self, String> {
        let group = std::fs::metadata("/dev/kvm").ok().map(|metadata| metadata.gid()).filter(|&gid| gid != 0);
        let kvm = Self::Kvm { group };
        match tokio::time::timeout(Duration::from_secs(10), host.probe(&kvm)).await {
            Ok(tried) => tried.map(|()| kvm),
            Err(_) => Err("QEMU did not answer".to_owned()),
        }
    }
}
