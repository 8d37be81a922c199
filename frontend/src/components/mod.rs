//! What pages are made of. A component does one thing and takes typed props;
//! its look stands in the file of the same name in `style/`.

pub mod annotations;
pub mod audit;
pub mod bar;
pub mod code;
pub mod confirm;
pub mod form;
pub mod invitations;
pub mod keys;
pub mod latency;
pub mod load;
pub mod log;
pub mod page_head;
pub mod palette;
pub mod policy;
pub mod project_rows;
pub mod reproduce;
pub mod run_rows;
pub mod stages;
pub mod state;
pub mod tabs;
pub mod time;
pub mod tokens;
