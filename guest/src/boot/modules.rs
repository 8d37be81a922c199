//! The kernel's modules, in the order that the initial RAM disk says.

use std::{
    ffi::CString,
    fs::{self, File},
    path::Path,
};

use rustix::io::Errno;

use super::{BootError, Trying};

/// Loads `order`'s modules; without that file there is nothing to load.
pub(super) fn load(folder: &Path) -> Result<(), BootError> {
    let Ok(order) = fs::read_to_string(folder.join("order")) else {
        return Ok(());
    };
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty()) {
        let what = format!("load the kernel module {name}");
        let file = folder.join(format!("{}.ko", name.trim_end_matches(".ko")));
        let module = File::open(file).trying(&what)?;
        match rustix::system::finit_module(module, &CString::default(), 0) {
            // Built in, or another module's dependency.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).trying(what),
        }
    }
    // They lie in memory, and nobody needs them again.
    let _ = fs::remove_dir_all(folder);
    Ok(())
}
