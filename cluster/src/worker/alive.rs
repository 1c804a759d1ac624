//! A worker says that it lives, and what it has: a value that the servers forget if it is not
//! written anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use brigade::exported::CODEC;
use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use crate::status;

/// Says so until it is dropped.
pub(super) async fn say(shared: Arc<Shared>) {
    let mut tick = interval(shared.store.worker_lifetime() / 3);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let told = serde_json::to_vec(&told(&shared)).unwrap_or_default();
        let saying = shared.store.say_alive(&shared.name, Bytes::from(told));
        if let Err(e) = saying.await {
            tracing::debug!("{e}");
            shared.store.make_what_is_gone(&e).await;
        }
    }
}

fn told(shared: &Shared) -> status::Worker {
    let served = shared.counts.told();
    let tasks = shared.tasks.iter();
    status::Worker {
        name: shared.name.clone(),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        pid: std::process::id(),
        build: shared.build.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        codec: CODEC,
        slots: shared.pool.workers() as u64,
        running: shared.counts.running.load(Ordering::Relaxed),
        ended: served.ended,
        given_back: served.given_back,
        lost: served.lost,
        refused: served.refused,
        dead: served.dead,
        tasks: tasks
            .map(|(name, known)| ((*name).to_owned(), known.types.clone()))
            .collect(),
    }
}
