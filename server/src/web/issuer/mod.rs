//! The edges of the issuer.
//!
//! Three kinds of visitors, kept apart: programs, which bring no cookie and are
//! asked for none (`programs`); people in their browsers (`forms`), whose
//! pages and forms do what the API does; and the API itself (`api`). No answer
//! is for scripts of other sites: there is no CORS, and who has a page and no
//! server of its own cannot use this issuer.

mod api;
mod forms;
mod programs;

pub(super) use api::routes;
pub(super) use forms::routes as forms;
pub(super) use programs::routes as programs;
