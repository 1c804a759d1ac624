#![doc = include_str!("../README.md")]

mod error;
mod pool;
mod settings;
mod store;
mod wire;
mod worker;

pub use error::Error;
pub use pool::{JoinHandle, Pool, PoolBuilder, Results};
pub use settings::Settings;
pub use worker::{Served, Worker, serve};

/// The oldest nats-server that this crate works with.
pub const OLDEST_SERVER: &str = "2.12";
