//! PID 1 of a machine. Started as anything else it says so and does nothing.

use std::{path::Path, process::ExitCode};

use devenv_cloud_guest::boot;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::process::id() == 1 {
        boot::init();
    }
    match &arguments[..] {
        [word, port] if word == boot::SESSION => match boot::session(Path::new(port)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                boot::report(error);
                ExitCode::FAILURE
            }
        },
        [word, rounds] if word == boot::WARM_UP => boot::warm_up(rounds),
        _ => {
            eprintln!(
                "This is PID 1 of a devenv-cloud machine; `devenv-cloud image build` puts it into an image."
            );
            ExitCode::FAILURE
        }
    }
}
