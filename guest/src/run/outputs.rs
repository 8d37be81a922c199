//! Building derivations: what tasks need before they run, and the project's
//! outputs after them.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    command::Launch,
    evaluate::{Output, nix_failure, run_nix},
    job::{Context, End, stage},
    protocol::{SpanKind, Stage},
    recorder::{NewSpan, Span},
};

/// Builds what tasks and the environment refer to.
pub(crate) fn realise(context: &Context, derivations: &[String]) -> Result<(), End> {
    if derivations.is_empty() {
        return Ok(());
    }
    stage(context, Stage::Build, "build", |span| build(context, span, derivations).map(drop))
}

/// Builds the project's outputs and records where they are.
pub(crate) fn collect(context: &Context, outputs: &BTreeMap<String, Output>) -> Result<(), End> {
    if outputs.is_empty() {
        return Ok(());
    }
    stage(context, Stage::Outputs, "outputs", |span| {
        let derivations: Vec<String> = outputs
            .values()
            .filter_map(|output| match output {
                Output::Derivation { derivation, .. } => Some(derivation.clone()),
                Output::Path(_) => None,
            })
            .collect();
        if !derivations.is_empty() {
            build(context, span, &derivations)?;
        }
        for (name, output) in outputs {
            let (Output::Path(path) | Output::Derivation { path, .. }) = output;
            span.note(&format!("devenv.output.{name}"), path);
            span.say(format!("{name}: {path}"));
        }
        Ok(())
    })
}

fn build(context: &Context, stage: &Arc<Span>, derivations: &[String]) -> Result<(), End> {
    let span = Arc::new(stage.open(NewSpan::new(SpanKind::Command, "nix-store --realise")));
    let launch = Launch::new(&context.world, "nix-store")
        .args(["--realise", "--no-gc-warning", "--log-format", "internal-json", "-v"])
        .args(derivations);
    let end = run_nix(context, &span, || launch.start(&context.world, &context.canceller))?;
    if end.ended.is_success() {
        span.close(crate::protocol::Outcome::Success);
        return Ok(());
    }
    let end = nix_failure(context, &span, "the build", &end);
    span.close(end.outcome);
    Err(end)
}
