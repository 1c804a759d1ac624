//! The worker that stays: one task after another, until it is killed or has had enough.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::zombies::Zombies;
use crate::sys::error::errno_of;
use crate::sys::fds::Pinned;
use crate::sys::original::Original;
use crate::sys::{fds, futex, process, profile, spin};
use crate::task::crash::Phase;
use crate::task::entry::{Outcome, Plan};
use crate::task::text::floor_char_boundary;
use crate::transport::ring::Corrupt;
use crate::worker::process::child::flush::{self, Streams};
use crate::worker::process::child::startup::{Worker, wake_events, word};
use crate::worker::process::child::stderr_mark::Mark;
use crate::worker::process::ipc::lane;
use crate::worker::process::ipc::mailbox::{INLINE_MAX, order, reply};
use crate::worker::process::ipc::protocol::Stay;
use crate::worker::process::ipc::turns::Occasion;

/// How often its memory is looked at, at the most.
const WEIGHING: Duration = Duration::from_millis(1);

/// The worker broke off: what the host says makes no sense.
const NONSENSE: i32 = 71;

/// A worker that stays: until when, and what it has in hand.
pub(in crate::worker::process) struct Staying {
    /// Tasks until it leaves.
    left: u64,
    scale: Option<Scale>,
    /// The process that serves, and no child of a task.
    original: Original,
    stderr: Mark,
    zombies: Zombies,
    tasks: Tasks,
}

/// What a worker that stays has in hand.
struct Tasks {
    /// As many as it has begun.
    begun: u32,
    /// As many results as it has shown.
    finished: u32,
    plan: Option<Plan>,
    /// The frame of the task, and the result: kept, so that they need not be allocated each time.
    frame: Vec<u8>,
    result: Vec<u8>,
}

impl Staying {
    pub(in crate::worker::process) fn new(worker: &Worker, stay: &Stay) -> Staying {
        let mut stderr = Mark::new(worker.stderr_count);
        stderr.begin(worker.mailbox);
        Staying {
            left: stay.tasks.unwrap_or(u64::MAX),
            scale: stay.bytes.map(Scale::new),
            original: Original::this_process(),
            stderr,
            zombies: Zombies::default(),
            tasks: Tasks {
                begun: 0,
                finished: 0,
                plan: None,
                frame: Vec::new(),
                result: Vec::new(),
            },
        }
    }
}

impl Worker {
    /// Serves until it is to leave.
    pub(in crate::worker::process) fn stay(&mut self, stay: &Stay) {
        let mut staying = Staying::new(self, stay);
        loop {
            if !self.begin_at_once(&mut staying) {
                self.begin_later(&mut staying);
            }
            if !self.serve_begun(&mut staying) {
                return;
            }
        }
    }

    /// Begins the next task, if there is one.
    pub(in crate::worker::process) fn begin_at_once(&self, staying: &mut Staying) -> bool {
        let tasks = &mut staying.tasks;
        let turns = self.mailbox.turns();
        let first = turns.begin_or_ring(tasks.begun, tasks.finished, || tell(&self.bell));
        self.has_begun(first, tasks)
    }

    /// Begins the next task, when there is one.
    fn begin_later(&self, staying: &mut Staying) {
        let (tasks, stderr) = (&mut staying.tasks, &mut staying.stderr);
        let turns = self.mailbox.turns();
        loop {
            self.look_for_a_while(|| turns.has_more(tasks.begun));
            stderr.waited(self.mailbox);
            if self.has_begun(turns.begin(tasks.begun), tasks) {
                return;
            }
            self.mailbox.note_processor();
            turns.sleep_until_more(tasks.begun);
            self.mailbox.note_processor();
        }
    }

    /// Runs the task that was begun. `false`: it was the last; the host was told that this leaves.
    pub(in crate::worker::process) fn serve_begun(&mut self, staying: &mut Staying) -> bool {
        let served = self.serve_one(&mut staying.tasks, &staying.original);
        let was_long = staying.stderr.task_ended(self.mailbox);
        staying.left -= 1;
        let had_enough = staying.left == 0
            || staying.scale.as_mut().is_some_and(Scale::is_over)
            || was_long && staying.zombies.are_too_many();
        if served && !had_enough {
            return true;
        }
        profile::write();
        self.say(&staying.tasks, reply::LEAVING, &[]);
        self.ends.replies.show();
        self.mailbox.turns().leave(|| tell(&self.bell));
        false
    }

    fn has_begun(&self, begun: Result<bool, Corrupt>, tasks: &mut Tasks) -> bool {
        let Ok(begun) = begun else { self.break_off() };
        tasks.begun = tasks.begun.wrapping_add(u32::from(begun));
        begun
    }

    /// What is in the mailbox makes no sense: the task before has written over it. What was begun
    /// was not run.
    fn break_off(&self) -> ! {
        self.mailbox.set_phase(Phase::Starting);
        process::exit_now(NONSENSE)
    }

    fn look_for_a_while(&self, is_there: impl Fn() -> bool) {
        let turns = self.mailbox.turns();
        let Some(host) = turns.patience() else {
            return;
        };
        if !spin::pays() || host == rustix::thread::sched_getcpu() as u32 {
            return;
        }
        // The host may find another use for this processor.
        spin::until(|| is_there() || turns.patience().is_none());
    }

    /// Wakes the host, if it wants to be.
    fn ring(&self, occasion: Occasion) {
        let turns = self.mailbox.turns();
        turns.wake_host(occasion, || tell(&self.bell));
    }

    /// Runs the task that was begun. `false`: no other can be run here. Either this one was not,
    /// for a task before it has closed the way that its input comes; or it has left somebody behind
    /// who holds stdout.
    fn serve_one(&mut self, tasks: &mut Tasks, original: &Original) -> bool {
        let tag = self.next_frame(tasks);
        self.mailbox.set_phase(Phase::Decoding);
        let Some(plan) = tasks.plan else {
            self.break_off()
        };
        tasks.result.clear();
        let (input, large, descriptors) = match tag {
            order::SAME_TASK => (&tasks.frame[..], None, Vec::new()),
            order::PARCEL_TASK | order::LARGE_PARCEL_TASK if self.lane().is_err() => return false,
            order::PARCEL_TASK | order::LARGE_PARCEL_TASK => match self.parcel(tag, &tasks.frame) {
                Ok((large, descriptors)) => {
                    // The host may close its copies now.
                    self.mailbox.turns().settle();
                    self.ring(Occasion::Carried);
                    let input = tasks.frame.get(8..).unwrap_or_default();
                    (input, large, descriptors)
                }
                Err(e) => {
                    let why = format!("its input did not arrive: {e}");
                    self.say(tasks, reply::UNDELIVERABLE, why.as_bytes());
                    self.show(tasks);
                    return true;
                }
            },
            _ => self.break_off(),
        };
        let input = large.as_deref().unwrap_or(input);
        let mailbox = self.mailbox;
        let mut carried = tag != order::SAME_TASK;
        let outcome = plan.run(input, descriptors, &mut tasks.result, &|phase| {
            mailbox.set_phase(phase);
        });
        drop(large);
        // The task forked, and this is its child, which came back first: it is not the one to
        // reply.
        if !original.is_this_process() {
            process::exit_now(0);
        }
        // What it wrote is out before anybody hears that it is done.
        let is_flushed = flush::flush(Streams::Stdout);
        // It may be killed as soon as the host has its last result.
        if profile::is_linked() && !self.mailbox.turns().has_more(tasks.begun) {
            profile::write();
        }
        if !is_flushed {
            self.mailbox.note_unflushed();
        }
        match outcome {
            Outcome::Returned(descriptors)
                if descriptors.is_empty() && tasks.result.len() <= INLINE_MAX =>
            {
                self.say(tasks, reply::RETURNED, &tasks.result);
            }
            Outcome::Returned(descriptors) => {
                carried = true;
                self.say_with_parcel(tasks, descriptors);
            }
            Outcome::Undeliverable(mut why) => {
                why.truncate(floor_char_boundary(&why, INLINE_MAX));
                self.say(tasks, reply::UNDELIVERABLE, why.as_bytes());
            }
            Outcome::Panicked(mut unwound) => {
                unwound
                    .message
                    .truncate(floor_char_boundary(&unwound.message, INLINE_MAX / 2));
                match postcard::to_stdvec(&unwound) {
                    Ok(bytes) => self.say(tasks, reply::PANICKED, &bytes),
                    Err(e) => self.say(tasks, reply::UNDELIVERABLE, e.to_string().as_bytes()),
                }
            }
        }
        if tasks.result.capacity() > INLINE_MAX {
            tasks.result = Vec::new();
        }
        self.show(tasks);
        if carried {
            self.mailbox.turns().settle();
            self.ring(Occasion::Carried);
        }
        // Whoever prints here next would wait for the same.
        is_flushed
    }

    /// The frame of the task that was begun, which says that it is there.
    fn next_frame(&mut self, tasks: &mut Tasks) -> u32 {
        loop {
            self.ends.orders.trust();
            match self.ends.orders.pop(&mut tasks.frame) {
                Ok(Some(order::PLAN)) => {
                    let words = [word(&tasks.frame, 0), word(&tasks.frame, 1)];
                    tasks.plan = Some(Plan::from_words(words));
                }
                Ok(Some(tag)) => return tag,
                Ok(None) | Err(_) => self.break_off(),
            }
        }
    }

    /// The parcel of a task: a large input, and descriptors. Those of tasks that were taken back
    /// come before it, and are nobody's.
    fn parcel(&self, tag: u32, frame: &[u8]) -> io::Result<(Option<Vec<u8>>, Vec<OwnedFd>)> {
        let number = word(frame, 0);
        let mut descriptors = lane::recv_numbered(self.lane()?, number)?;
        if tag != order::LARGE_PARCEL_TASK {
            return Ok((None, descriptors));
        }
        if descriptors.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let file = descriptors.remove(0);
        Ok((Some(lane::open(file, word(frame, 1))?), descriptors))
    }

    fn say_with_parcel(&mut self, tasks: &Tasks, descriptors: Vec<OwnedFd>) {
        let len = tasks.result.len();
        let sent = if len <= INLINE_MAX {
            Ok(descriptors)
        } else {
            lane::with_file(&tasks.result, descriptors)
        };
        match sent.and_then(|descriptors| self.send_parcel(&descriptors)) {
            Ok(()) if len <= INLINE_MAX => {
                self.say(tasks, reply::ACCOMPANIED_RETURNED, &tasks.result);
            }
            Ok(()) => self.say(tasks, reply::LARGE_RETURNED, &(len as u64).to_ne_bytes()),
            Err(e) => {
                let why = format!("its result of {len} bytes could not be sent: {e}");
                self.say(tasks, reply::UNDELIVERABLE, why.as_bytes());
            }
        }
    }

    /// Sends descriptors through the lane, when there is room.
    fn send_parcel(&self, descriptors: &[OwnedFd]) -> io::Result<()> {
        loop {
            let lane = self.lane()?;
            let full = match lane::send(lane, descriptors) {
                Err(e) => e,
                sent => return sent,
            };
            self.mailbox.turns().settle();
            self.ring(Occasion::Full);
            match errno_of(&full) {
                // For a moment: the host may have gone to sleep without having seen that this is
                // stuck, and is then told again.
                Some(libc::EAGAIN) => {
                    let again = Instant::now() + Duration::from_millis(1);
                    fds::poll_until(&mut [PollFd::new(&lane, PollFlags::OUT)], Some(again))?;
                }
                // As many descriptors are on their way as this user may have. Nobody says when that
                // is over.
                Some(libc::ETOOMANYREFS | libc::ENOBUFS) => futex::rest(Duration::from_millis(1)),
                _ => return Err(full),
            }
        }
    }

    /// Writes a reply, when there is room.
    fn say(&mut self, tasks: &Tasks, tag: u32, bytes: &[u8]) {
        debug_assert!(tasks.finished != tasks.begun || tag == reply::LEAVING);
        let (replies, bell) = (&mut self.ends.replies, &self.bell);
        while replies.push(tag, bytes).is_err() {
            let turns = self.mailbox.turns();
            turns.wait_for_room(|| replies.has_room(bytes.len()), || tell(bell));
        }
    }

    /// Shows the host the reply to the task.
    fn show(&mut self, tasks: &mut Tasks) {
        self.ends.replies.show();
        // Not before: one that has begun and is idle has not run its task.
        self.mailbox.set_phase(Phase::Idle);
        tasks.finished = tasks.finished.wrapping_add(1);
        self.mailbox.turns().finish(tasks.finished);
    }
}

/// Tells the host through the bell. Without a way to do that there is no sense in going on; that
/// this has ended is heard.
fn tell(bell: &Pinned) {
    if wake_events(bell).is_err() {
        process::exit_now(0);
    }
}

/// How much memory this process has, looked at now and then. The second number of /proc/self/statm,
/// proc(5): pages that are resident.
struct Scale {
    most_pages: u64,
    last: Instant,
}

impl Scale {
    fn new(bytes: u64) -> Scale {
        Scale {
            most_pages: bytes / rustix::param::page_size() as u64,
            last: Instant::now(),
        }
    }

    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.last) < WEIGHING {
            return false;
        }
        self.last = now;
        // Where that cannot be read (a task has left no descriptor free, or has changed the root
        // directory), the most that it ever had stands in for it: it may leave too early then, but
        // does not grow without end.
        resident_pages().unwrap_or_else(process::most_resident_pages) > self.most_pages
    }
}

fn resident_pages() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}
