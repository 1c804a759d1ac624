//! The worker that stays: one task after another, until it is killed or has had enough.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::child::{Worker, floor_char_boundary, ring_events, word};
use super::lane;
use super::mailbox::{INLINE_MAX, order, reply};
use super::protocol::Stay;
use super::turns::Occasion;
use crate::sys::original::Original;
use crate::sys::{fds, futex, process, spin};
use crate::task::crash::Phase;
use crate::task::entry::{Outcome, Plan};

/// How long a worker with nothing to do looks before it sleeps, where it may.
const PATIENCE: Duration = Duration::from_micros(50);

/// How often its memory is looked at, at the most.
const WEIGHING: Duration = Duration::from_millis(1);

/// The worker broke off: what the host says makes no sense.
const NONSENSE: i32 = 71;

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

impl Worker {
    /// Serves until it is to leave.
    pub(super) fn stay(&mut self, stay: &Stay) {
        let mut scale = stay.bytes.map(Scale::new);
        let mut tasks = Tasks {
            begun: 0,
            finished: 0,
            plan: None,
            frame: Vec::new(),
            result: Vec::new(),
        };
        let original = Original::this_process();
        let mut left = stay.tasks.unwrap_or(u64::MAX);
        loop {
            self.begin(&mut tasks);
            self.serve_one(&mut tasks, &original);
            left -= 1;
            if left == 0 || scale.as_mut().is_some_and(Scale::is_over) {
                self.say(&tasks, reply::LEAVING, &[]);
                self.ends.replies.show();
                self.mailbox.turns().leave(|| self.wake_events());
                return;
            }
        }
    }

    /// Begins the next task, when there is one.
    fn begin(&self, tasks: &mut Tasks) {
        let turns = self.mailbox.turns();
        let mut begun = turns.begin_or_ring(tasks.begun, tasks.finished, || self.wake_events());
        while !begun {
            self.look_for_a_while(|| turns.has_more(tasks.begun));
            begun = turns.begin(tasks.begun);
            if !begun {
                self.mailbox.note_processor();
                turns.sleep_until_more(tasks.begun);
                self.mailbox.note_processor();
            }
        }
        tasks.begun = tasks.begun.wrapping_add(1);
    }

    fn look_for_a_while(&self, is_there: impl Fn() -> bool) {
        let turns = self.mailbox.turns();
        let Some(host) = turns.patience() else {
            return;
        };
        if !spin::pays() || host == rustix::thread::sched_getcpu() as u32 {
            return;
        }
        let limit = Instant::now() + PATIENCE;
        loop {
            for _ in 0..64 {
                if is_there() {
                    return;
                }
                std::hint::spin_loop();
            }
            // The host may have found other use for this processor.
            if Instant::now() >= limit || turns.patience().is_none() {
                return;
            }
        }
    }

    /// Wakes the host, if it wants to be.
    fn ring(&self, occasion: Occasion) {
        let turns = self.mailbox.turns();
        turns.wake_host(occasion, || self.wake_events());
    }

    fn serve_one(&mut self, tasks: &mut Tasks, original: &Original) {
        // Not long ago this was begun, which says that the frame is there.
        self.ends.orders.trust();
        let Ok(Some(tag)) = self.ends.orders.pop(&mut tasks.frame) else {
            process::exit_now(NONSENSE)
        };
        self.mailbox.set_phase(Phase::Decoding);
        let plan = match tag {
            order::SAME_TASK => tasks.plan,
            order::TASK | order::PARCEL_TASK | order::LARGE_PARCEL_TASK => {
                Some(Plan::from_words([
                    word(&tasks.frame, 0),
                    word(&tasks.frame, 1),
                ]))
            }
            _ => None,
        };
        let Some(plan) = plan else {
            process::exit_now(NONSENSE)
        };
        tasks.plan = Some(plan);
        tasks.result.clear();
        let (input, large, descriptors) = match tag {
            order::SAME_TASK => (&tasks.frame[..], None, Vec::new()),
            order::TASK => (tasks.frame.get(16..).unwrap_or_default(), None, Vec::new()),
            _ => match self.parcel(tag, &tasks.frame) {
                Ok((large, descriptors)) => (
                    tasks.frame.get(24..).unwrap_or_default(),
                    large,
                    descriptors,
                ),
                Err(e) => {
                    let why = format!("its input did not arrive: {e}");
                    self.say(tasks, reply::UNDELIVERABLE, why.as_bytes());
                    return self.show(tasks);
                }
            },
        };
        let input = large.as_deref().unwrap_or(input);
        let mailbox = self.mailbox;
        let outcome = plan.run(input, descriptors, &mut tasks.result, &|phase| {
            mailbox.set_phase(phase);
        });
        drop(large);
        // The task forked, and this is its child, which came back first: it is not the one to reply.
        if !original.is_this_process() {
            process::exit_now(0);
        }
        // What it wrote is out before anybody hears that it is done.
        let _ = io::stdout().flush();
        process::flush_c_stdout();
        match outcome {
            Outcome::Returned(descriptors)
                if descriptors.is_empty() && tasks.result.len() <= INLINE_MAX =>
            {
                self.say(tasks, reply::RETURNED, &tasks.result);
            }
            Outcome::Returned(descriptors) => self.say_with_parcel(tasks, descriptors),
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
    }

    /// The parcel of a task: a large input, and descriptors. Those of tasks that were taken back come before it, and are nobody's.
    fn parcel(&self, tag: u32, frame: &[u8]) -> io::Result<(Option<Vec<u8>>, Vec<OwnedFd>)> {
        let number = word(frame, 2);
        let mut descriptors = lane::recv_numbered(self.lane()?, number)?;
        if tag != order::LARGE_PARCEL_TASK {
            return Ok((None, descriptors));
        }
        if descriptors.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let file = descriptors.remove(0);
        Ok((Some(lane::open(file, word(frame, 3))?), descriptors))
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
            match full.raw_os_error() {
                // For a moment: the host may have gone to sleep without having seen that this is stuck, and is then told again.
                Some(libc::EAGAIN) => {
                    let again = Instant::now() + Duration::from_millis(1);
                    fds::poll_until(&mut [PollFd::new(&lane, PollFlags::OUT)], Some(again))?;
                }
                // As many descriptors are on their way as this user may have. Nobody says when that is over.
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
            turns.wait_for_room(|| replies.has_room(bytes.len()), || ring_events(bell));
        }
    }

    /// Shows the host the reply to the task.
    fn show(&mut self, tasks: &mut Tasks) {
        self.mailbox.set_phase(Phase::Idle);
        self.ends.replies.show();
        tasks.finished = tasks.finished.wrapping_add(1);
        self.mailbox.turns().finish(tasks.finished);
    }
}

/// How much memory this process has, looked at now and then. The second number of /proc/self/statm, proc(5): pages that are resident.
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
        std::fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
            .is_some_and(|pages| pages > self.most_pages)
    }
}
