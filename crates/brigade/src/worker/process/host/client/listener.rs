//! The host's one thread: hears the fork server, takes spare workers in, wakes futures, and tells
//! all of them when the fork server is gone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::{
    EVENTS, ForkServerClient, LastWorker, RESTED, SOCKET, SpareWorker, TIMER, WAKE_SOCKET, WATCH,
};
use crate::sync::liveness::{LivenessTable, Token};
use crate::sys::error::{self, Call};
use crate::sys::remote_error::RemoteError;
use crate::sys::{fds, opened, process};
use crate::task::contain::contained;
use crate::worker::process::fork_server::orphans;
use crate::worker::process::ipc::exit_table::SLOTS;
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::{
    self, ForkServerEvent, NextMessage, ReceivedMessage, Request,
};
use crate::worker::process::ipc::wake_socket::WakeSocketState;

/// How often it is looked whether workers have woken it, once one of them has seen to it that none
/// can.
const RECHECK: Duration = Duration::from_millis(5);

/// How long killed workers may take to end, all together.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// No turn of the listener takes longer, unless it is held up.
const TURN: Duration = Duration::from_millis(20);

/// No timer is this late, unless there is no processor for the listener.
const LATE: Duration = Duration::from_millis(2);

impl ForkServerClient {
    /// The listener's thread: until the fork server is gone.
    pub(super) fn listen(&self) {
        self.show_thread();
        let mut ready = Vec::new();
        let mut wake_socket_is_shut = false;
        let mut woke = Instant::now();
        loop {
            let asleep = Instant::now();
            // This program was stopped in the middle of a turn.
            let mut missed = (asleep - woke).saturating_sub(TURN);
            let recheck = wake_socket_is_shut.then_some(RECHECK);
            // An error is no signal's, which are blocked here, and no lack of anything: the program
            // has closed a descriptor that is not its own. Nothing can be received any more.
            let Ok(whole) = self.epoll.wait(&mut ready, recheck) else {
                break;
            };
            woke = Instant::now();
            if !whole {
                // It was stopped; since when is not known.
                missed += woke - asleep;
            }
            if ready.contains(&WAKE_SOCKET)
                && self.wake_socket.take_wakeups() == WakeSocketState::ShutDown
            {
                // It would be reported for ever.
                self.epoll.remove(&self.wake_socket);
                wake_socket_is_shut = true;
            }
            if ready.contains(&EVENTS) || ready.contains(&WAKE_SOCKET) || wake_socket_is_shut {
                let _ = rustix::io::read(&self.events, &mut [0; 8]);
                self.wake_ready();
            }
            if ready.contains(&TIMER) {
                self.timer.drain();
            }
            if ready.contains(&RESTED) {
                self.rest.drain();
                let mut state = self.lock();
                state.resting = false;
                let _ = self.refill(&mut state);
            }
            if ready.contains(&SOCKET) {
                self.send_kept();
                if !self.hear() {
                    break;
                }
            }
            if ready.contains(&WATCH) {
                self.watch.drain();
                // What the fork server has said is received before this finds that it has said
                // nothing.
                if !self.hear() || !self.look_after() {
                    break;
                }
            }
            if ready != [RESTED] && ready != [WATCH] || !missed.is_zero() {
                self.call_observers(missed.max(self.lateness(woke)), woke);
                self.watch_if_needed();
            }
        }
        if !self.has_ended() {
            // It may have closed its end of the line, and not ended; or it may be ours that is
            // closed.
            let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        }
        let workers = self.lose_all();
        self.lock().ends_reported = true;
        // They may start another fork server, which has a listener of its own.
        self.call_observers(Duration::ZERO, Instant::now());
        self.reap(&workers);
    }

    /// Has the fork server watch this thread. A program that executes another keeps its number, and
    /// the socket may be open in a process that the program forked by itself: then nothing but the
    /// end of its threads tells that it is not this program any more.
    fn show_thread(&self) {
        // Before Linux 6.9 threads have no pidfd: see PLATFORM.md. The socket is empty, so that the
        // send cannot block.
        if let Ok(thread) = opened::pidfd_of_this_thread() {
            let _ = protocol::send(&self.socket, &Request::Listens, &[thread.as_fd()]);
        }
    }

    /// Hears what there is. `false`: the fork server is gone.
    pub(in crate::worker::process) fn hear(&self) -> bool {
        loop {
            let ReceivedMessage {
                content,
                mut descriptors,
                descriptors_lost,
            } = match protocol::next(&self.socket) {
                NextMessage::Message(message) => message,
                NextMessage::Nothing => return true,
                NextMessage::Gone => return false,
            };
            let descriptor = match descriptors.pop() {
                Some(descriptor) => Ok(Some(descriptor)),
                None if descriptors_lost => Err(error::as_if("recvmsg(2)", libc::EMFILE)),
                None => Ok(None),
            };
            let mut here = None;
            match content {
                ForkServerEvent::Hello { .. } | ForkServerEvent::Unfit { .. } => {}
                ForkServerEvent::Forked { slot, pid } => self.forked(slot, pid, descriptor),
                ForkServerEvent::NotForked { why } => {
                    let mut state = self.lock();
                    state.expected = state.expected.saturating_sub(1);
                    // The fork server has said of it that it is dead.
                    state.tokens.pop_front();
                    state.fail(why);
                }
                ForkServerEvent::Dead { token } => mark_dead([Token::from_bits(token)]),
                ForkServerEvent::FdSocket {
                    request_number,
                    errno,
                } => {
                    let fd_socket = match errno {
                        0 => descriptor,
                        errno => Err(error::as_if("sendmsg(2)", errno)),
                    };
                    let fd_socket =
                        fd_socket.needed_to("pass on what does not fit a worker's mailbox");
                    self.lock().fd_sockets.arrive(request_number, fd_socket);
                    self.wake_ready();
                }
                ForkServerEvent::Here { number } => here = Some(number),
            }
            self.lock().watch.heard(here);
            self.arrived.notify_all();
        }
    }

    fn forked(&self, slot: u32, pid: u32, mailbox: io::Result<Option<OwnedFd>>) {
        let mailbox = mailbox
            .and_then(|file| file.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)))
            .and_then(|file| Mailbox::map(&file))
            .needed_to("take a worker process");
        let mut state = self.lock();
        state.expected = state.expected.saturating_sub(1);
        let index = slot.min(SLOTS - 1) as usize;
        if state.last.len() <= index {
            state.last.resize_with(index + 1, LastWorker::default);
        }
        let token = state.tokens.pop_front().flatten();
        state.last[index] = LastWorker {
            pid,
            token,
            task: None,
        };
        match mailbox {
            Ok(mailbox) => {
                mailbox.warm();
                let spare = SpareWorker {
                    slot,
                    pid,
                    mailbox: Arc::new(mailbox),
                };
                // Asked for before it was retired.
                if state.retired && state.in_need() <= state.spares.len() {
                    self.turn_away(&mut state, &spare);
                } else {
                    state.spares.push(spare);
                }
            }
            Err(e) => {
                state.fail(RemoteError::from(&e));
                drop(state);
                self.kill(slot, pid, Duration::ZERO);
                self.exit_table.release(slot);
            }
        }
    }

    /// How much later than it was to call an observer it woke: there was no processor for it, or it
    /// was stopped.
    fn lateness(&self, woke: Instant) -> Duration {
        let state = self.lock();
        let first = state.observers.values().filter_map(|e| e.call_at).min();
        let late = first.map_or(Duration::ZERO, |at| woke.saturating_duration_since(at));
        if late >= LATE { late } else { Duration::ZERO }
    }

    /// Has all pools look after their workers.
    pub(in crate::worker::process) fn call_observers(&self, missed: Duration, woke: Instant) {
        let observers: Vec<_> = {
            let mut state = self.lock();
            let now = Instant::now();
            for registration in state.observers.values_mut() {
                registration.call_at = registration.call_at.filter(|&at| at > now);
            }
            state
                .observers
                .values()
                .filter_map(|e| e.observer.upgrade())
                .collect()
        };
        for observer in observers {
            // It contains what code of the program's it calls. We may have the last reference, and
            // then wakers are dropped here.
            contained(|| {
                observer.on_event(missed, woke);
                drop(observer);
            });
        }
    }

    pub(super) fn wake_ready(&self) {
        let mut wake = Vec::new();
        {
            let mut state = self.lock();
            let has_come = |fd_socket| state.gone || state.fd_sockets.has_come(fd_socket);
            let slots: Vec<u32> = state
                .async_waiters
                .iter()
                .filter(|(_, s)| (s.ready)() || s.fd_socket.is_some_and(has_come))
                .map(|(&slot, _)| slot)
                .collect();
            wake.extend(
                slots
                    .into_iter()
                    .filter_map(|slot| state.async_waiters.remove(&slot)),
            );
        }
        for sleeper in wake {
            // An executor's code: its panic is its own affair, and must not end the only thread
            // that hears of ends.
            contained(|| sleeper.waker.wake());
        }
    }

    /// Where this program is the init process of its container, or a subreaper, the fork server was
    /// its child, and now all that the fork server had is; no other process will reap them. Last of
    /// all, for one that is frozen may take any time to end.
    fn reap(&self, workers: &[u32]) {
        // Any may be reaped by the program meanwhile, which is an error here, at once; and so it is
        // for what is no child of ours.
        let ended = |id, options| rustix::process::waitid(id, WaitIdOptions::EXITED | options);
        let server = || WaitId::PidFd(self.process.as_fd());
        // Not reaped yet: until it is, its number is that of its session and of nothing else.
        let is_child = ended(server(), WaitIdOptions::NOWAIT).is_ok();
        // They are ending: the fork server has closed its end of the line, and they die with it.
        // What is a child of ours cannot be one of the host's own, for these numbers were never
        // free.
        for pid in workers.iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
            let _ = ended(WaitId::Pid(pid), WaitIdOptions::empty());
        }
        if let Some(session) = Pid::from_raw(self.pid as i32).filter(|_| is_child) {
            // A worker whose birth was not announced, what a task has started, the processes that
            // write to stderr for the fork server.
            orphans::end_adopted(session, || {
                ended(server(), WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG).is_ok()
            });
            let _ = ended(server(), WaitIdOptions::empty());
        }
    }

    /// The fork server is gone, and its workers with it, for they die with their parent. All
    /// waiters hear of it.
    ///
    /// Returns the workers whose end was not seen.
    fn lose_all(&self) -> Vec<u32> {
        let (workers, unmade) = {
            let mut state = self.lock();
            state.gone = true;
            state.spares.clear();
            (
                std::mem::take(&mut state.last),
                std::mem::take(&mut state.tokens),
            )
        };
        let mut dead: Vec<Option<Token>> = unmade.into();
        let mut dying = Vec::new();
        for (slot, worker) in workers.into_iter().enumerate() {
            let LastWorker { pid, token, .. } = worker;
            if self.exit_table.lose(slot as u32) && pid > 1 {
                // Its children outlive it, and no process is left to reap them: those that stayed
                // in its group can still be found.
                process::kill_group(pid, libc::SIGKILL);
                dying.push((pid, token));
            } else {
                // The fork server has reaped it, and may not have come to say so.
                dead.push(token);
            }
        }
        mark_dead(dead);
        let deadline = Instant::now() + LAST_MOMENT;
        for &(pid, token) in &dying {
            wait_for_end(pid, deadline);
            mark_dead([token]);
        }
        let lost = dying.into_iter().map(|(pid, _)| pid).collect();
        self.arrived.notify_all();
        self.wake_ready();
        lost
    }
}

/// Frees what these held. A slot of the liveness table that has been given to another meanwhile is
/// not touched.
pub(super) fn mark_dead(dead: impl IntoIterator<Item = Option<Token>>) {
    if let Ok(liveness) = LivenessTable::get() {
        dead.into_iter()
            .flatten()
            .for_each(|token| liveness.mark_dead(token));
    }
}

/// Waits until a lost worker certainly runs no more. It was killed, which takes effect a moment
/// later; one that is frozen ends before it does anything else.
fn wait_for_end(pid: u32, deadline: Instant) {
    let id = Pid::from_raw(pid as i32);
    if let Some(worker) = id.and_then(|id| opened::pidfd(id).ok()) {
        // The number may be another process's by now, which has no reason to end.
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = fds::wait_readable(worker, left);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::Ordering;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::Thread;

    use super::*;
    use crate::task::symbols::tests::{PANICKED_IN_LISTENER, PANICS_IN_LISTENER};
    use crate::{Cause, JoinError, Kind, Pool};

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// No caller waits in the library meanwhile, so the listener looks after the pool.
    fn awaited<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = pin!(future);
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            if let Poll::Ready(ended) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return ended;
            }
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody woke this");
            std::thread::park_timeout(left);
        }
    }

    #[test]
    fn a_death_that_cannot_be_looked_up_is_told_all_the_same() {
        crate::init();
        let dir = std::env::temp_dir().join(format!("brigade-listener-{}", std::process::id()));
        let pool = Pool::builder(Kind::Process).workers(1).keep_crashes(&dir);
        let pool = pool.build().expect("a pool");
        PANICS_IN_LISTENER.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let ended = awaited(pool.submit(|()| -> u32 { std::process::abort() }, ()));
            let Err(JoinError::Crashed(crash)) = ended else {
                panic!("{ended:?}");
            };
            assert_eq!(crash.cause(), &Cause::Abort);
            assert!(crash.file().is_some(), "{:?}", crash.file_error());
            assert_eq!(awaited(pool.submit(|n: u32| 2 * n, 21)).ok(), Some(42));
        }
        PANICS_IN_LISTENER.store(false, Ordering::Relaxed);
        assert!(
            PANICKED_IN_LISTENER.load(Ordering::Relaxed) > 0,
            "the listener told it"
        );
        drop(pool);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
