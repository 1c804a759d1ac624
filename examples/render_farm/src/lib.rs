//! What the workers of the render farm do: they draw frames, and encode them.
//!
//! It is apart from the program, because the encoder is generic, and its minute of compiling would
//! be had by each change of the program, and by each of its tests.

#![deny(unsafe_code)]

pub mod encode;
mod fault;
pub mod picture;
pub mod render;
pub mod scene;
