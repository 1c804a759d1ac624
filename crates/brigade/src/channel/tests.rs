//! What a suite that uses channels from outside cannot bring about.

mod torn;
mod wakeups;
