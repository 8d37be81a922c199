//! What host and guest share: the [`protocol`] that they speak over the
//! machine's channel. The rest of this crate is PID 1 of the machine.

#![warn(missing_docs)]

pub mod protocol;
