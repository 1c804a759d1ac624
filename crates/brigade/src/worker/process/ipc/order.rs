//! What the host tells a worker: one frame of the ring each.
//!
//! The numbers that tell orders apart in a frame are known here only. The host writes an [`Order`]
//! with [`push`](Order::push), or many tasks at once with [`task_frame`]; the worker takes frames
//! with an [`OrderFrame`], and reads each as an [`Order`].

use std::io;

use crate::task::entry::Plan;
use crate::task::library::Library;
use crate::transport::ring::{self, Consumer, Corrupt, Full, Producer};

const SET_UP: u32 = 1;
const PLAN: u32 = 2;
const TASK: u32 = 3;
const ACCOMPANIED_TASK: u32 = 4;
const LARGE_TASK: u32 = 5;
const PLAN_WITH: u32 = 6;
const CONTEXT: u32 = 7;
const ACCOMPANIED_CONTEXT: u32 = 8;
const LARGE_CONTEXT: u32 = 9;
const KEEP_CONTEXTS: u32 = 10;
const ATTEMPT: u32 = 11;
const LIBRARY: u32 = 12;

/// The number by which tasks use the state of their worker, which is there from its start.
pub(crate) const STATE: u64 = u64::MAX;

/// The most contexts that a worker has. The host sees to that.
pub(crate) const MAX_CONTEXTS: usize = 8;

/// An order. What it borrows lies in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order<'a> {
    /// Prepare yourself, and say when you are ready, or why you are not. An encoded
    /// [`Setup`](super::protocol::Setup).
    SetUp(&'a [u8]),
    /// What to call for the tasks that follow, which are run for the first time. It is no task by
    /// itself.
    Plan(Plan),
    /// Likewise, of tasks that use the context of this number.
    PlanWith(Plan, u64),
    /// A context, under its number, for tasks that follow: an encoded value.
    Context(u64, Payload<'a>),
    /// Let go of all contexts but these.
    KeepContexts(ContextNumbers<'a>),
    /// The tasks that follow, until the next plan, are run for this time, counted from 1.
    Attempt(u32),
    /// A shared library, in which functions of plans that follow lie, or one of the setup that
    /// follows: an encoded [`Library`](crate::task::library::Library).
    Library(&'a [u8]),
    /// Run the plan on this.
    Task(Payload<'a>),
    /// There is no such order: something has written over the mailbox.
    Unknown(u32),
}

/// Numbers of contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContextNumbers<'a>(&'a [u8]);

impl<'a> ContextNumbers<'a> {
    /// Writes them into `into`, from where they are read.
    pub(crate) fn write(
        numbers: impl Iterator<Item = u64>,
        into: &'a mut Vec<u8>,
    ) -> ContextNumbers<'a> {
        into.clear();
        into.extend(numbers.flat_map(u64::to_ne_bytes));
        ContextNumbers(into)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let each = self.0.chunks_exact(8);
        let bytes = number.to_ne_bytes();
        each.into_iter().any(|it| it == bytes)
    }
}

/// A task's input, or a context, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// Encoded, in the order itself.
    Inline(&'a [u8]),
    /// Encoded, in the order itself. Its descriptors are in the attachment of this number, which
    /// the descriptor socket carries.
    Accompanied { attachment: u64, bytes: &'a [u8] },
    /// In a file of `len` bytes, which is the first descriptor of the attachment of this number.
    Large { attachment: u64, len: u64 },
}

impl Order<'_> {
    /// Writes it, if there is room. The worker sees it when the ring is published or, of a worker
    /// that stays, when the task is offered.
    // Which order it is is mostly known where this is called.
    #[inline(always)]
    pub(crate) fn push(self, orders: &mut Producer<'_>) -> Result<(), Full> {
        match self {
            Order::SetUp(bytes) => orders.push(SET_UP, bytes),
            Order::Plan(plan) => orders.push_parts(PLAN, &plan.to_words(), &[]),
            Order::PlanWith(plan, context) => {
                let [entry, task] = plan.to_words();
                orders.push_parts(PLAN_WITH, &[entry, task, context], &[])
            }
            Order::Context(number, Payload::Inline(bytes)) => {
                orders.push_parts(CONTEXT, &[number], bytes)
            }
            Order::Context(number, Payload::Accompanied { attachment, bytes }) => {
                orders.push_parts(ACCOMPANIED_CONTEXT, &[number, attachment], bytes)
            }
            Order::Context(number, Payload::Large { attachment, len }) => {
                orders.push_parts(LARGE_CONTEXT, &[number, attachment, len], &[])
            }
            Order::KeepContexts(numbers) => orders.push(KEEP_CONTEXTS, numbers.0),
            Order::Library(bytes) => orders.push(LIBRARY, bytes),
            Order::Attempt(attempt) => orders.push(ATTEMPT, &attempt.to_ne_bytes()),
            Order::Task(Payload::Inline(bytes)) => orders.push(TASK, bytes),
            Order::Task(Payload::Accompanied { attachment, bytes }) => {
                orders.push_parts(ACCOMPANIED_TASK, &[attachment], bytes)
            }
            Order::Task(Payload::Large { attachment, len }) => {
                orders.push_parts(LARGE_TASK, &[attachment, len], &[])
            }
            Order::Unknown(tag) => orders.push(tag, &[]),
        }
    }
}

impl Order<'_> {
    /// A library, for [`Library`](Self::Library).
    pub(crate) fn encoded(library: &Library) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(library).map_err(io::Error::other)
    }
}

impl Payload<'_> {
    /// How many bytes of it the order holds, so that [`Producer::has_room`] can be asked.
    pub(crate) fn len(&self) -> usize {
        match self {
            Payload::Inline(bytes) => bytes.len(),
            Payload::Accompanied { bytes, .. } => 8 + bytes.len(),
            Payload::Large { .. } => 16,
        }
    }
}

/// Bytes before the input in what [`task_frame`] appends.
pub(crate) const FRAME_HEADER: usize = ring::frame_size(0);

/// Appends a task with an inline input to a list of frames, for [`Producer::push_frames`]:
/// `encode` appends the input. If that fails, nothing is appended.
pub(crate) fn task_frame<R, E>(
    into: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<R, E>,
) -> Result<R, E> {
    ring::append_frame(into, TASK, encode)
}

/// The input of the task at `at` in such a list, and where the next one is.
pub(crate) fn task_at(frames: &[u8], at: usize) -> Option<(&[u8], usize)> {
    ring::frame_at(frames, at)
}

/// An order as it was taken from the ring. A worker keeps one, and so its memory.
#[derive(Debug, Default)]
pub(crate) struct OrderFrame {
    tag: u32,
    body: Vec<u8>,
}

impl OrderFrame {
    pub(crate) fn with_capacity(bytes: usize) -> OrderFrame {
        OrderFrame {
            tag: 0,
            body: Vec::with_capacity(bytes),
        }
    }

    /// Takes the next order. `false`: there is none.
    #[inline(always)]
    pub(crate) fn take(&mut self, orders: &mut Consumer<'_>) -> Result<bool, Corrupt> {
        let Some(tag) = orders.pop(&mut self.body)? else {
            return Ok(false);
        };
        self.tag = tag;
        Ok(true)
    }

    /// The order that was taken last. One that is shorter than it has to be is none.
    #[inline]
    pub(crate) fn order(&self) -> Order<'_> {
        let body = &self.body[..];
        let order = match self.tag {
            TASK => Some(Order::Task(Payload::Inline(body))),
            PLAN => plan(body).map(Order::Plan),
            ATTEMPT => body
                .first_chunk()
                .map(|attempt| Order::Attempt(u32::from_ne_bytes(*attempt))),
            SET_UP => Some(Order::SetUp(body)),
            LIBRARY => Some(Order::Library(body)),
            ACCOMPANIED_TASK => body.split_first_chunk().map(|(attachment, bytes)| {
                let attachment = u64::from_ne_bytes(*attachment);
                Order::Task(Payload::Accompanied { attachment, bytes })
            }),
            LARGE_TASK => two_words(body)
                .map(|[attachment, len]| Order::Task(Payload::Large { attachment, len })),
            PLAN_WITH => plan(body).and_then(|plan| {
                let context = u64::from_ne_bytes(*body.get(16..)?.first_chunk()?);
                Some(Order::PlanWith(plan, context))
            }),
            CONTEXT => body.split_first_chunk().map(|(number, bytes)| {
                Order::Context(u64::from_ne_bytes(*number), Payload::Inline(bytes))
            }),
            ACCOMPANIED_CONTEXT => two_words(body).map(|[number, attachment]| {
                let bytes = &body[16..];
                Order::Context(number, Payload::Accompanied { attachment, bytes })
            }),
            LARGE_CONTEXT => two_words(body).and_then(|[number, attachment]| {
                let len = u64::from_ne_bytes(*body.get(16..)?.first_chunk()?);
                Some(Order::Context(number, Payload::Large { attachment, len }))
            }),
            KEEP_CONTEXTS => Some(Order::KeepContexts(ContextNumbers(body))),
            _ => None,
        };
        order.unwrap_or(Order::Unknown(self.tag))
    }
}

fn plan(body: &[u8]) -> Option<Plan> {
    two_words(body).map(Plan::from_words)
}

/// Two words, as they are written.
fn two_words(body: &[u8]) -> Option<[u64; 2]> {
    let (first, rest) = body.split_first_chunk()?;
    let second = rest.first_chunk()?;
    Some([u64::from_ne_bytes(*first), u64::from_ne_bytes(*second)])
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::worker::process::ipc::mailbox::{INLINE_MAX, Pair};

    fn orders(bytes: &[u8]) -> [Order<'_>; 13] {
        [
            Order::PlanWith(Plan::from_words([3, u64::MAX]), 9),
            Order::Context(4, Payload::Inline(bytes)),
            Order::Context(
                u64::MAX,
                Payload::Accompanied {
                    attachment: 7,
                    bytes,
                },
            ),
            Order::Context(
                5,
                Payload::Large {
                    attachment: u64::MAX,
                    len: 1 << 40,
                },
            ),
            Order::KeepContexts(ContextNumbers(bytes)),
            Order::SetUp(bytes),
            Order::Library(bytes),
            Order::Plan(Plan::from_words([3, u64::MAX])),
            Order::Attempt(u32::MAX),
            Order::Task(Payload::Inline(bytes)),
            Order::Task(Payload::Accompanied {
                attachment: 7,
                bytes,
            }),
            Order::Task(Payload::Large {
                attachment: u64::MAX,
                len: 1 << 40,
            }),
            Order::Unknown(77),
        ]
    }

    #[test]
    fn orders_arrive_as_they_were_given() {
        let mut pair = Pair::new();
        let mut frame = OrderFrame::default();
        for bytes in [&[][..], &[1], &[2; 8], &[3; INLINE_MAX]] {
            for order in orders(bytes) {
                order.push(&mut pair.host.orders).expect("there is room");
                pair.host.orders.publish();
                assert_eq!(frame.take(&mut pair.worker.orders), Ok(true));
                assert_eq!(frame.order(), order);
                assert_eq!(frame.take(&mut pair.worker.orders), Ok(false));
            }
        }
    }

    #[test]
    fn an_input_takes_the_room_that_it_says() {
        for input in orders(&[1; 99]) {
            if let Order::Task(input) = input {
                let mut pair = Pair::new();
                let before = pair.host.orders.position();
                Order::Task(input)
                    .push(&mut pair.host.orders)
                    .expect("room");
                let took = pair.host.orders.position() - before;
                assert_eq!(took, ring::frame_size(input.len()) as u64);
            }
        }
    }

    #[test]
    fn appended_tasks_are_orders() {
        let mut frames = Vec::new();
        for n in 0..3_u8 {
            let encoded = task_frame(&mut frames, |into| {
                into.extend(std::iter::repeat_n(n, 5));
                Ok::<(), ()>(())
            });
            encoded.expect("encodes");
        }
        assert_eq!(task_frame(&mut frames, |_| Err::<(), ()>(())), Err(()));
        assert_eq!(&frames[FRAME_HEADER..FRAME_HEADER + 5], [0; 5]);
        let mut pair = Pair::new();
        pair.host.orders.push_frames(&frames).expect("room");
        pair.host.orders.publish();
        let (mut frame, mut at) = (OrderFrame::default(), 0);
        for n in 0..3_u8 {
            assert_eq!(frame.take(&mut pair.worker.orders), Ok(true));
            assert_eq!(frame.order(), Order::Task(Payload::Inline(&[n; 5])));
            let (bytes, next) = task_at(&frames, at).expect("a task");
            assert_eq!(bytes, [n; 5]);
            at = next;
        }
        assert_eq!(task_at(&frames, at), None);
    }

    #[test]
    fn what_is_too_short_or_has_another_number_is_no_order() {
        for tag in [
            0,
            PLAN,
            ACCOMPANIED_TASK,
            LARGE_TASK,
            PLAN_WITH,
            CONTEXT,
            ACCOMPANIED_CONTEXT,
            LARGE_CONTEXT,
            LIBRARY + 1,
            u32::MAX,
        ] {
            let short = OrderFrame {
                tag,
                body: vec![0; 7],
            };
            assert_eq!(short.order(), Order::Unknown(tag));
        }
    }
}
