//! Which server this is: a name that stays the same over restarts, so that a
//! server that starts again knows which leases were its own.

use std::path::Path;

use crate::clock::Random;

/// The name of the server that keeps its state in `state_dir`, made up at the
/// first start.
///
/// # Errors
/// When the file cannot be read or written.
pub fn instance_id(state_dir: &Path, random: &Random) -> std::io::Result<String> {
    let file = state_dir.join("instance");
    match std::fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        Ok(_) => write(&file, random),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write(&file, random),
        Err(error) => Err(error),
    }
}

fn write(file: &Path, random: &Random) -> std::io::Result<String> {
    let id = hex::encode(random.bytes::<8>());
    std::fs::write(file, format!("{id}\n"))?;
    Ok(id)
}
