#![doc = include_str!("../README.md")]

mod build;
mod connect;
mod error;
mod escape;
mod pool;
mod settings;
pub mod status;
mod store;
mod wire;
mod worker;

pub use error::Error;
pub use pool::{JoinHandle, Pool, PoolBuilder, Results, TaskBuilder};
pub use settings::Settings;
pub use status::Status;
pub use worker::{Served, Worker, serve};

/// The oldest nats-server that this crate works with.
pub const OLDEST_SERVER: &str = "2.12";
