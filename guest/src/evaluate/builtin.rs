//! The built-in evaluator: one call of `nix-instantiate` on the Nix files of
//! `guest/nix/`, which answer with the whole configuration as JSON.

use std::{fs, io, sync::Arc};

use serde_json::{Value, json};

use super::{Configuration, Evaluator, Missing, Plan, location::relative, nix_failure, run_nix};
use crate::{
    command::Launch,
    job::{Context, End},
    protocol::{HOST_NAME, Level, Outcome, SpanKind, USER_NAME},
    recorder::{NewSpan, Span},
    run,
    world::World,
};

/// Evaluates with plain Nix, without nixpkgs and without network.
#[derive(Clone, Copy, Debug)]
pub struct Builtin;

/// The only shape that this code understands.
const FORMAT: u32 = 1;

impl Evaluator for Builtin {
    fn name(&self) -> &'static str {
        "builtin"
    }

    fn evaluate(&self, context: &Context, stage: &Arc<Span>) -> Result<Box<dyn Plan>, End> {
        stage.say("The image has no devenv command: the built-in evaluator reads devenv.nix.");
        let span = Arc::new(stage.open(NewSpan::new(SpanKind::Evaluation, "devenv.nix")));
        let result = evaluate(context, &span);
        let outcome = result.as_ref().map_or_else(|end| end.outcome, |_| Outcome::Success);
        span.close(outcome);
        let configuration = result?;
        for warning in &configuration.warnings {
            stage.message(Level::Warning, warning, None);
        }
        if !configuration.active_profiles.is_empty() {
            stage.say(format!("Active profiles: {}", configuration.active_profiles.join(", ")));
        }
        refuse_missing(context, stage, &configuration.missing)?;
        Ok(Box::new(run::Tasks::new(configuration)))
    }
}

/// Nix on one of the evaluator's files, which answers in JSON.
pub(crate) fn nix(world: &World, file: &str) -> Launch {
    let flags = [
        "--eval",
        "--strict",
        "--json",
        "--read-write-mode",
        "--show-trace",
        "--log-format",
        "internal-json",
        "-v",
    ];
    Launch::new(world, "nix-instantiate")
        .args(flags)
        .arg(world.evaluator.join(file))
        .args(["--arg", "root"])
        .arg(&world.source)
}

fn evaluate(context: &Context, span: &Arc<Span>) -> Result<Configuration, End> {
    let world = &context.world;
    let job = &context.job;
    let cloud: Value = serde_json::from_str(&job.cloud)
        .map_err(|error| End::error(format!("the values of cloud.* are no JSON: {error}")))?;
    let arguments = json!({
        "system": job.platform,
        "profiles": job.profiles,
        "cloud": cloud,
        "yaml": devenv_yaml(context, span)?,
        "hostname": HOST_NAME,
        "user": USER_NAME,
    });
    // `job.env` is not given: secrets never enter an evaluation.
    let arguments = arguments.to_string();
    let end = run_nix(context, span, || {
        let ahead = world.ahead.as_ref().and_then(|ahead| ahead.evaluate(&arguments));
        match ahead {
            Some(started) => started.register(&context.canceller),
            None => nix(world, "default.nix")
                .args(["--argstr", "context", &arguments])
                .start(world, &context.canceller),
        }
    })?;
    if !end.ended.is_success() {
        return Err(nix_failure(context, span, "the evaluation", &end));
    }
    if end.too_much {
        return Err(End::failure("the evaluated configuration is larger than 64 MiB"));
    }
    let configuration: Configuration = serde_json::from_slice(&end.stdout).map_err(|error| {
        End::error(format!("the built-in evaluator answered what cannot be read: {error}"))
    })?;
    if configuration.format != FORMAT {
        return Err(End::error(format!(
            "the image's evaluator speaks format {}, the guest format {FORMAT}: rebuild the image with `devenv-cloud image build`",
            configuration.format
        )));
    }
    Ok(configuration)
}

/// `devenv.yaml` as JSON; an empty object when there is none.
fn devenv_yaml(context: &Context, span: &Span) -> Result<Value, End> {
    const FILE: &str = "devenv.yaml";
    let text = match fs::read_to_string(context.world.source.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(json!({})),
        Err(error) => return Err(End::failure(format!("cannot read {FILE}: {error}"))),
    };
    let refuse = |words: &str, line: Option<u32>| {
        span.message(Level::Error, words, Some((FILE.to_owned(), line)));
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        End::failure(format!("{FILE}{line}: {words}"))
    };
    match serde_saphyr::from_str::<Option<Value>>(&text) {
        Ok(None) => Ok(json!({})),
        Ok(Some(value)) if value.is_object() => Ok(value),
        Ok(Some(_)) => Err(refuse("must be a map of settings, for example `inputs: {}`", None)),
        Err(error) => {
            let line = error.location().and_then(|place| u32::try_from(place.line()).ok());
            let words = error.to_string();
            Err(refuse(words.lines().next().unwrap_or("is no YAML"), line))
        }
    }
}

/// What the image lacks ends the job before anything runs: a task that stumbles
/// over it half-way would be harder to understand.
fn refuse_missing(context: &Context, stage: &Span, missing: &[Missing]) -> Result<(), End> {
    let Some(first) = missing.first() else {
        return Ok(());
    };
    for one in missing {
        let by = match &one.used_by[..] {
            [] => String::new(),
            names => format!(" (used by {})", names.join(", ")),
        };
        let advice = match &one.similar {
            Some(similar) => format!("Did you mean `{similar}`?"),
            None => "Use a program that the image has, or an image with the devenv command.".to_owned(),
        };
        let text = format!("`{}` is not available in this image{by}. {advice}", one.name);
        stage.message(
            Level::Error,
            &text,
            one.place.as_deref().and_then(|place| parse_place(context, place)),
        );
    }
    let more = match missing.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(End::failure(format!("the project needs what this image does not have: {}{more}", first.name)))
}

/// "/work/repo/devenv.nix:12" as a place in the source.
fn parse_place(context: &Context, place: &str) -> Option<(String, Option<u32>)> {
    let (file, line) = place.rsplit_once(':').unwrap_or((place, ""));
    Some((relative(file, &context.world.source)?, line.parse().ok()))
}
