//! A worker's first orders. One of them is either its only task, after which it ends, or to stay.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::sys::{process, profile, spin};
use crate::task::crash::Phase;
use crate::task::entry::{EncodedResult, Plan};
use crate::worker::process::child::flush::FlushedStreams;
use crate::worker::process::child::setup::{self, PoolWorker};
use crate::worker::process::child::task::{self, Service};
use crate::worker::process::child::this_worker::is_the_worker;
use crate::worker::process::child::warm_up::SMALL;
use crate::worker::process::child::worker::{EXIT_PROTOCOL_BROKEN, Worker, wake_events};
use crate::worker::process::ipc::fd_socket;
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::order::{Order, OrderFrame, Payload};
use crate::worker::process::ipc::reply::{self, Reply};

/// How long a worker that was called looks for its order: longer than the host takes to compare
/// privileges when it has slept, which is 80 µs, and as long again to prepare the order.
const CALLED: Duration = Duration::from_micros(200);

impl Worker {
    /// Obeys one order after another, until a task is done; or until an order makes this a pool's
    /// worker: then returns what that order asks of it.
    pub(in crate::worker::process) fn serve(&mut self) -> Option<PoolWorker> {
        let mut frame = OrderFrame::with_capacity(SMALL);
        let mut plan = None;
        loop {
            self.mailbox.note_processor();
            self.wait_for_order();
            // The host is of the same build and no enemy: there is nothing else.
            while frame
                .take(&mut self.ends.orders)
                .unwrap_or_else(|_| break_off())
            {
                match frame.order() {
                    Order::SetUp(setup) => match setup::set_up(self, setup) {
                        Ok(pool) => {
                            // Before the host hears that it is ready: what it is killed by from
                            // now on finds it without a task.
                            self.mailbox.set_phase(Phase::Idle);
                            self.write(Reply::Ready);
                            self.publish();
                            if pool.is_some() {
                                return pool;
                            }
                            self.mailbox.set_phase(Phase::Starting);
                        }
                        Err(why) => {
                            self.write(Reply::NotReady(&reply::encoded(&why)));
                            self.publish();
                            return None;
                        }
                    },
                    Order::Plan(given) => plan = Some(given),
                    Order::Library(library) => {
                        task::receive_library(library).unwrap_or_else(|| break_off());
                    }
                    Order::Task(payload) => {
                        self.serve_only(plan.unwrap_or_else(|| break_off()), payload);
                        return None;
                    }
                    Order::PlanWith(..)
                    | Order::Context(..)
                    | Order::KeepContexts(_)
                    | Order::Attempt(_)
                    | Order::Unknown(_) => break_off(),
                }
            }
        }
    }

    /// Sleeps until there is an order. The host calls this worker before it has the order ready, so
    /// that the two take less time than one after the other: a worker that is woken and finds no
    /// order looks for it for a moment.
    fn wait_for_order(&self) {
        let orders = &self.ends.orders;
        while !orders.is_ready() {
            orders.sleep_once();
            let _ = spin::until_within(CALLED, || orders.is_ready());
        }
    }

    /// Runs its only task.
    fn serve_only(&mut self, plan: Plan, payload: Payload<'_>) {
        self.mailbox.set_phase(Phase::Decoding);
        let received = task::receive(self, payload);
        let mut only = Only(self);
        let (input, descriptors) = match received {
            Ok(received) => received,
            Err(why) => return only.reply(Reply::Undeliverable(why.as_bytes())),
        };
        only.0.mailbox.note_processor();
        only.0.marks.write(plan.to_words());
        let mut result = EncodedResult::default();
        let outcome = task::run(&only, plan, None, input, descriptors, &mut result);
        task::flush(&only);
        profile::write();
        task::reply_outcome(&mut only, outcome, &mut result);
    }

    /// Writes a reply. Those of one task always fit the ring.
    fn write(&mut self, reply: Reply<'_>) {
        if reply.push(&mut self.ends.replies).is_err() {
            break_off();
        }
    }

    /// Tells the host of what was written.
    fn publish(&mut self) {
        self.ends.replies.publish();
        if self.mailbox.wants_events() {
            // A worker that does one task ends in a moment, which the host learns of.
            let _ = wake_events(&self.wake_socket);
        }
    }
}

/// A worker, and its only task.
struct Only<'w>(&'w mut Worker);

impl Service for Only<'_> {
    const STREAMS: FlushedStreams = FlushedStreams::All;

    fn mailbox(&self) -> &'static Mailbox {
        self.0.mailbox
    }

    fn is_the_worker(&self) -> bool {
        is_the_worker()
    }

    fn has_lost_fork_server(&self) -> bool {
        self.0.has_lost_fork_server()
    }

    fn send_descriptors(&mut self, descriptors: &[OwnedFd]) -> io::Result<()> {
        fd_socket::send(self.0.fd_socket()?, descriptors)
    }

    fn reply(&mut self, reply: Reply<'_>) {
        self.0.write(reply);
        // Before the host hears of it, which may end this worker then.
        self.0.mailbox.set_phase(Phase::Idle);
        self.0.publish();
    }
}

/// What the mailbox says makes no sense.
fn break_off() -> ! {
    process::exit_now(EXIT_PROTOCOL_BROKEN)
}
