//! When a receiver looks away, so that it finds several messages at once.

/// When to look away.
///
/// A receiver that is quicker than its sender finds each message as soon as it is there, and so has
/// the two pass the same lines of memory, or a lock of the kernel's, to and fro for each: either
/// would be several times as fast alone. If it looks away for a moment, it finds several together.
/// That is worth it in a stream, and a loss in a dialogue; which of the two it is, is tried out now
/// and then.
#[derive(Debug)]
pub(super) struct StreamBackoff {
    /// How long it looks away, in processors' pauses, of some 40 ns each.
    moment: u32,
    /// Messages since nothing was there.
    run: u32,
    /// How often nothing was there.
    pauses: u32,
    /// The receiver looked away the last time.
    away: bool,
}

impl StreamBackoff {
    /// How many messages together are a stream.
    const STREAM: u32 = 4;
    /// One pause in so many is a trial: in a dialogue each is a loss.
    const TRIED: u32 = 256;

    pub(super) fn new(moment: u32) -> StreamBackoff {
        StreamBackoff {
            moment,
            run: 0,
            pauses: 0,
            away: false,
        }
    }

    /// A message was there.
    #[inline]
    pub(super) fn got_one(&mut self) {
        self.run = self.run.saturating_add(1);
    }

    /// Nothing is there.
    pub(super) fn back_off(&mut self) {
        let stream = self.away && self.run >= StreamBackoff::STREAM;
        self.run = 0;
        self.pauses = self.pauses.wrapping_add(1);
        self.away = stream || self.pauses % StreamBackoff::TRIED == 0;
        if self.away {
            for _ in 0..self.moment {
                std::hint::spin_loop();
            }
        }
    }
}
