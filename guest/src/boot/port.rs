//! The channel to the host: a virtio-serial port, found by its name.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{BootError, Trying};
use crate::protocol::PORT_NAME;

/// How long the port may take to appear, and the host to connect.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// The device file of the port.
pub(super) fn find() -> Result<PathBuf, BootError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ports = fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten();
        for port in ports {
            let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                return Ok(Path::new("/dev").join(port.file_name()));
            }
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("there is none")).trying(format_args!("find the port {PORT_NAME}"));
        }
        thread::sleep(PAUSE);
    }
}

/// Both ends of the port.
pub(super) fn open(device: &Path) -> io::Result<(Port, File)> {
    let file = File::options().read(true).write(true).open(device)?;
    Ok((Port { file: file.try_clone()?, connected: false }, file))
}

/// The reading end. Until the host has connected, the kernel says that there is
/// nothing to read; after that the same answer means that it has hung up.
pub(super) struct Port {
    file: File,
    connected: bool,
}

impl Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let count = self.file.read(buffer)?;
            if count > 0 || self.connected || buffer.is_empty() || Instant::now() > deadline {
                self.connected |= count > 0;
                return Ok(count);
            }
            thread::sleep(PAUSE);
        }
    }
}
