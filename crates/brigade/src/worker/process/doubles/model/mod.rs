//! A fork server and workers that are threads of one model: shuttle decides the order of their
//! steps.

pub(crate) mod fork_server;
pub(crate) mod worker;
