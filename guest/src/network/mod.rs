//! The job's way out: an HTTP proxy on the machine's loopback interface, whose
//! connections are streams over the channel to the host.
//!
//! The machine has no network card. What a job may reach is decided by the host
//! for each stream: here, requests are understood, and nothing is believed to be
//! allowed or not. So that little of a request reaches the host, it gets a name, a
//! port and bytes.

mod http;
mod mux;
mod proxy;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread,
};

pub use mux::{Mux, Stream};

/// Listens for the commands of the job, and says where.
///
/// # Errors
/// When the address cannot be listened on.
pub fn start(address: SocketAddr, mux: Mux) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("proxy".to_owned()).spawn(move || proxy::serve(&listener, &mux))?;
    Ok(address)
}

/// What tells programs of the proxy. Some read the one spelling, some the other.
pub fn environment(proxy: SocketAddr) -> impl Iterator<Item = (String, String)> {
    let proxy = format!("http://{proxy}");
    let pairs = ["http_proxy", "https_proxy", "all_proxy"].map(|name| (name, proxy.clone()));
    let none = ("no_proxy", "localhost,127.0.0.1,::1".to_owned());
    pairs
        .into_iter()
        .chain([none])
        .flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_uppercase(), value)])
}
