//! iceoryx2: shared memory without copies. There is nothing to wait on in its publishers and
//! subscribers: both sides look again and again.

use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::{Shared, process};
use iceoryx2::node::NodeBuilder;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, LogLevel, SignalHandlingMode, ipc, set_log_level};
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::traffic::{SMALL, Small, arrivals, ended, in_all, join, round_trips};

pub(crate) const NAME: &str = "iceoryx2 0.10.0, busy polling";
pub(crate) const COPIED: &str = "iceoryx2 0.10.0, copied in";

fn failed(e: impl Debug) -> io::Error {
    io::Error::other(format!("{e:?}"))
}

fn node() -> io::Result<iceoryx2::node::Node<ipc::Service>> {
    set_log_level(LogLevel::Fatal);
    NodeBuilder::new()
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create()
        .map_err(failed)
}

fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("brigade-benches/{}/{number}", std::process::id())
}

fn small(
    node: &iceoryx2::node::Node<ipc::Service>,
    name: &str,
) -> io::Result<PortFactory<ipc::Service, Small, ()>> {
    node.service_builder(&name.try_into().map_err(failed)?)
        .publish_subscribe::<Small>()
        // As in its own benchmark.
        .history_size(0)
        .subscriber_max_buffer_size(1)
        .enable_safe_overflow(true)
        .open_or_create()
        .map_err(failed)
}

type Sending = Publisher<ipc::Service, Small, ()>;
type Receiving = Subscriber<ipc::Service, Small, ()>;

fn publisher(service: &PortFactory<ipc::Service, Small, ()>) -> io::Result<Sending> {
    service
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(failed)
}

fn receive(from: &Receiving) -> io::Result<Small> {
    loop {
        if let Some(sample) = from.receive().map_err(failed)? {
            return Ok(*sample);
        }
    }
}

fn answer((there, back, count): (String, String, u32)) -> Result<(), String> {
    let answer = || -> io::Result<()> {
        let node = node()?;
        let (there, back) = (small(&node, &there)?, small(&node, &back)?);
        let from = there.subscriber_builder().create().map_err(failed)?;
        let to = publisher(&back)?;
        // Says that it is there.
        to.send_copy(SMALL).map_err(failed)?;
        for _ in 0..count {
            to.send_copy(receive(&from)?).map_err(failed)?;
        }
        // Until the last one was taken.
        receive(&from).map(drop)
    };
    answer().map_err(|e| e.to_string())
}

/// Microseconds for 64 bytes there and back.
pub(crate) fn there_and_back(count: u32) -> io::Result<f64> {
    let node = node()?;
    let names = (fresh_name(), fresh_name());
    let (there, back) = (small(&node, &names.0)?, small(&node, &names.1)?);
    let to = publisher(&there)?;
    let from = back.subscriber_builder().create().map_err(failed)?;
    let worker = process::spawn(answer, (names.0, names.1, in_all(count)))?;
    receive(&from)?;
    let figure = round_trips(count, || {
        to.send_copy(SMALL).map_err(failed)?;
        receive(&from).map(|got| {
            std::hint::black_box(got);
        })
    })?;
    to.send_copy(SMALL).map_err(failed)?;
    join(worker)?.map_err(io::Error::other)?;
    Ok(figure)
}

fn bytes(
    node: &iceoryx2::node::Node<ipc::Service>,
    name: &str,
) -> io::Result<PortFactory<ipc::Service, [u8], ()>> {
    node.service_builder(&name.try_into().map_err(failed)?)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(4)
        .open_or_create()
        .map_err(failed)
}

fn publish((name, len, stop): (String, usize, Shared<AtomicU32>)) -> Result<(), String> {
    let publish = || -> io::Result<()> {
        let node = node()?;
        let to = bytes(&node, &name)?
            .publisher_builder()
            .initial_max_slice_len(len)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(failed)?;
        let source = vec![7_u8; len];
        while stop.load(Ordering::Relaxed) == 0 {
            let sample = to.loan_slice_uninit(len).map_err(failed)?;
            sample.write_from_slice(&source).send().map_err(failed)?;
        }
        Ok(())
    };
    publish().map_err(|e| e.to_string())
}

/// Millions of messages of `len` bytes a second, copied into a loan; the receiver looks at the
/// first and the last byte, and copies nothing.
pub(crate) fn one_way(len: usize, count: u32) -> io::Result<f64> {
    let node = node()?;
    let name = fresh_name();
    let service = bytes(&node, &name)?;
    let from = service.subscriber_builder().create().map_err(failed)?;
    let stop = Shared::new(AtomicU32::new(0))?;
    let worker = process::spawn(publish, (name, len, stop.clone()))?;
    let take = || from.receive().map_err(failed);
    let figure = arrivals(count, || {
        loop {
            if let Some(sample) = take()? {
                std::hint::black_box((sample.first(), sample.last()));
                return Ok(());
            }
            if worker.is_finished() {
                return Err(ended());
            }
        }
    });
    stop.store(1, Ordering::Relaxed);
    // The publisher may be waiting for room.
    while !worker.is_finished() {
        take()?;
    }
    join(worker)?.map_err(io::Error::other)?;
    figure
}
