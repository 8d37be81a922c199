//! The channel to the host.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    thread,
    time::Duration,
};

/// How long to wait before looking for the host again.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct Port(File);

impl Port {
    pub(crate) fn open(device: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).open(device).map(Self)
    }
}

impl Read for Port {
    /// Nothing to read means that the host is not there yet. One that has hung up
    /// is about to kill us.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Write for Port {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
