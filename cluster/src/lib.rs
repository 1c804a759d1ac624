#![doc = include_str!("../README.md")]

mod access;
mod build;
mod connect;
mod error;
mod escape;
mod pool;
mod purge;
mod settings;
pub mod status;
mod store;
mod wire;
mod worker;

pub use access::Access;
pub use error::Error;
pub use pool::{JoinHandle, Pool, PoolBuilder, Results, TaskBuilder};
pub use purge::{Purge, Purged};
pub use settings::Settings;
pub use status::Status;
pub use worker::{Served, Worker, serve};

/// The oldest nats-server that this crate works with.
pub const OLDEST_SERVER: &str = "2.12";

/// Makes what an application has on the servers, if it is not there, as the first program that
/// connects does that may; and the consumer of a build, if one is named: then an autoscaler sees
/// its tasks before there was a worker.
///
/// # Errors
/// The name of the application or the build is none; no server answers, or an old one; it could not
/// be made.
///
/// # Examples
/// ```no_run
/// # async fn makes() -> Result<(), brigade_cluster::Error> {
/// let settings = brigade_cluster::Settings::default().replicas(3);
/// brigade_cluster::make("nats://localhost", "thumbs", &settings, Some("v7")).await
/// # }
/// ```
pub async fn make(
    url: &str,
    app: &str,
    settings: &Settings,
    build: Option<&str>,
) -> Result<(), Error> {
    if let Some(build) = build {
        build::check(build)?;
    }
    let store = store::Store::open(url, app, settings.clone()).await?;
    if let Some(build) = build {
        store.consumer(build).await?;
    }
    Ok(())
}
