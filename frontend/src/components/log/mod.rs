//! The log: a million lines open at once, because only those in sight are in
//! the page. Without a script the server's first window stands there as it is.

pub mod ansi;
mod place;
pub mod row;
pub mod search;
pub mod store;
pub mod view;
pub mod window;

pub use row::Excerpt;
pub use view::{Group, Groups, LogPane};
pub use window::{Begin, FIRST, Feed, Piece, fetch};
