//! Results of a map in async code: a stream, in the order of the inputs.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use super::policy::queue_and_retries::{MAP_WINDOW, STREAM_AHEAD};
use super::{Pool, SubmitAsync};
use crate::{JoinError, JoinHandle, Message};

/// The results of [`Pool::map_stream`], in the order of their inputs.
///
/// It has a handle of its pool, so that it borrows nothing.
#[must_use = "streams do nothing unless they are polled"]
pub struct MapStream<A, R, I> {
    task: fn(A) -> R,
    call_site: &'static Location<'static>,
    /// `None`: there are no more.
    inputs: Option<I>,
    /// The submission that waits for room in the queue.
    next: Option<SubmitAsync<A, R>>,
    /// What was submitted and not given yet, in the order of the inputs.
    slots: VecDeque<Slot<R>>,
    /// The number of the first of those.
    first: u64,
    /// How many of them have not ended.
    running: usize,
    wakes: Arc<Wakes>,
    pool: Pool,
}

enum Slot<R> {
    Runs(JoinHandle<R>, Waker),
    Ended(Result<R, JoinError>),
}

/// Which tasks have news, and the waker that learns of that.
#[derive(Default)]
struct Wakes(Mutex<WakesState>);

#[derive(Default)]
struct WakesState {
    ready: Vec<u64>,
    waker: Option<Waker>,
}

impl Wakes {
    fn lock(&self) -> MutexGuard<'_, WakesState> {
        // No code of the program's runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the stream for one of its tasks.
struct SlotWaker {
    number: u64,
    wakes: Arc<Wakes>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.wakes.lock();
        state.ready.push(self.number);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Pool {
    /// Runs `task` on each input, and gives the results as a [`Stream`], in
    /// the order of the inputs: [`map`](Self::map) for async code. No thread waits for it, and it
    /// needs no runtime: poll it on any executor.
    ///
    /// Nothing is done before it is polled. Then inputs are pulled as there is room for them: at
    /// most 32 tasks for each worker are with the pool at once, and fewer where its queue has a
    /// [limit](crate::PoolBuilder::queue_limit), for whose room it waits in turn, as
    /// [`submit_async`](Self::submit_async) does. Results are held back only as long as one before
    /// them is not there, so that memory does not grow with the number of inputs. A stream that is
    /// not polled pulls nothing: the pool finishes what it was given, and is idle then.
    ///
    /// When it is dropped, what was not started never starts, and what runs runs on, detached. When
    /// the pool is [closed](Self::close), the inputs that were not taken end with
    /// [`JoinError::Closed`], each; and so do all in a fork of the
    /// program. Short tasks are faster with `map`: here each result wakes the executor.
    ///
    /// # Panics
    /// Polling it does if `inputs` does.
    ///
    /// # Examples
    /// With a stream's `next` from `futures` or `tokio-stream`, it is
    /// `while let Some(result) = results.next().await`. Without those crates:
    /// ```
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    /// use brigade::{JoinError, Kind, Pool};
    /// use futures_core::Stream;
    ///
    /// async fn total(pool: &Pool, files: Vec<String>) -> Result<usize, JoinError> {
    ///     let mut lengths = pool.map_stream(|text: String| text.len(), files);
    ///     let mut total = 0;
    ///     while let Some(length) = poll_fn(|cx| Pin::new(&mut lengths).poll_next(cx)).await {
    ///         total += length?;
    ///     }
    ///     Ok(total)
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use pollster::block_on;
    /// brigade::init();
    /// for kind in Kind::ALL {
    ///     let pool = Pool::new(kind, 2)?;
    ///     let files = ["one", "two", "three"].map(String::from);
    ///     assert_eq!(block_on(total(&pool, files.to_vec()))?, 11);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "buffered")]
    #[track_caller]
    pub fn map_stream<A, R, I>(&self, task: fn(A) -> R, inputs: I) -> MapStream<A, R, I::IntoIter>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        MapStream {
            task,
            call_site: Location::caller(),
            inputs: Some(inputs.into_iter()),
            next: None,
            slots: VecDeque::new(),
            first: 0,
            running: 0,
            wakes: Arc::default(),
            pool: self.clone(),
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> MapStream<A, R, I> {
    /// Polls the handles whose wakers have run.
    fn take_ended(&mut self, ready: &[u64]) {
        for number in ready {
            // Its result was given already.
            let Some(at) = number.checked_sub(self.first) else {
                continue;
            };
            let Some(slot) = usize::try_from(at)
                .ok()
                .and_then(|at| self.slots.get_mut(at))
            else {
                continue;
            };
            self.running -= usize::from(slot.poll());
        }
    }

    /// Submits as many as there is room for. Returns whether there is room for more: where tasks
    /// end as fast as they are submitted, it stops all the same, so that polling comes to an end.
    fn submit_more(&mut self, context: &mut Context<'_>) -> bool {
        let most = self.pool.workers().saturating_mul(STREAM_AHEAD);
        let mut submitted = 0;
        while self.running < most && self.slots.len() < MAP_WINDOW {
            if !self.slots.is_empty() && self.pool.is_closed() {
                // Inputs that end with that are pulled as they are asked for.
                return false;
            }
            if submitted == most {
                return true;
            }
            let Some(next) = self.next.as_mut() else {
                // Where it panics, the next poll asks it again.
                let Some(input) = self.inputs.as_mut().and_then(Iterator::next) else {
                    self.inputs = None;
                    return false;
                };
                let pool = self.pool.clone();
                self.next = Some(SubmitAsync::at(pool, self.task, self.call_site, input));
                continue;
            };
            let Poll::Ready(handle) = Pin::new(next).poll(context) else {
                return false;
            };
            self.next = None;
            submitted += 1;
            let waker = Waker::from(Arc::new(SlotWaker {
                number: self.first + self.slots.len() as u64,
                wakes: Arc::clone(&self.wakes),
            }));
            let mut slot = Slot::Runs(handle, waker);
            self.running += usize::from(!slot.poll());
            self.slots.push_back(slot);
        }
        false
    }

    fn is_over(&self) -> bool {
        self.inputs.is_none() && self.next.is_none() && self.slots.is_empty()
    }

    /// What had come before the fork; then an error for each input. Nothing is locked: the lock may
    /// be held by a thread that is not there.
    fn next_of_copy(&mut self) -> Option<Result<R, JoinError>> {
        match self.slots.pop_front() {
            Some(Slot::Ended(result)) => return Some(result),
            Some(Slot::Runs(..)) => return Some(Err(JoinError::Closed)),
            None => {}
        }
        if self.next.take().is_some() {
            return Some(Err(JoinError::Closed));
        }
        let input = self.inputs.as_mut()?.next();
        if input.is_none() {
            self.inputs = None;
        }
        input.map(|_| Err(JoinError::Closed))
    }
}

impl<R> Slot<R> {
    /// Whether it has ended now, and had not before.
    fn poll(&mut self) -> bool {
        let Slot::Runs(handle, waker) = self else {
            return false;
        };
        let Poll::Ready(result) = Pin::new(handle).poll(&mut Context::from_waker(waker)) else {
            return false;
        };
        *self = Slot::Ended(result);
        true
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Stream for MapStream<A, R, I> {
    type Item = Result<R, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.pool.is_fork_of_owner() {
            return Poll::Ready(this.next_of_copy());
        }
        // Cloned before, and dropped after, the lock: that is the executor's code.
        let waker = context.waker().clone();
        let mut state = this.wakes.lock();
        let before = state.waker.replace(waker);
        let ready = std::mem::take(&mut state.ready);
        drop(state);
        drop(before);
        this.take_ended(&ready);
        let has_room = this.submit_more(context);
        match this.slots.front() {
            Some(Slot::Runs(..)) => {
                if has_room {
                    // Those that were submitted have ended already: none of them wakes the waiter.
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Some(Slot::Ended(_)) => {
                this.first += 1;
                match this.slots.pop_front() {
                    Some(Slot::Ended(result)) => Poll::Ready(Some(result)),
                    _ => unreachable!("it is the same one"),
                }
            }
            None if this.is_over() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = (self.inputs.as_ref()).map_or((0, Some(0)), Iterator::size_hint);
        let due = self.slots.len() + usize::from(self.next.is_some());
        let most = most.and_then(|most| most.checked_add(due));
        (least.saturating_add(due), most)
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> FusedStream for MapStream<A, R, I> {
    fn is_terminated(&self) -> bool {
        self.is_over()
    }
}

// Inputs are moved, and never pinned.
impl<A, R, I> Unpin for MapStream<A, R, I> {}

impl<A, R, I> Drop for MapStream<A, R, I> {
    fn drop(&mut self) {
        // In a fork of the program they are the other process's.
        if self.pool.is_fork_of_owner() {
            return;
        }
        // The last first: what a worker gives back of those behind it is cancelled by then.
        for slot in self.slots.iter().rev() {
            if let Slot::Runs(handle, _) = slot {
                handle.cancel_unbegun();
            }
        }
    }
}

impl<A, R, I> fmt::Debug for MapStream<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapStream")
            .field("pool", &self.pool)
            .field("given", &self.first)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
