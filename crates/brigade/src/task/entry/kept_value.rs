//! What a worker process keeps between tasks: a context, which the first task that uses it decodes;
//! or a state, which is loaded when the worker starts.

use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};

use crate::Message;
use crate::sys::carried;
use crate::task::codec::{self, Encoded};
use crate::transport::attachment;

/// A value that tasks borrow, one after another.
pub(crate) struct KeptValue {
    stage: Stage,
    /// A task that could change it has panicked.
    is_spoiled: bool,
}

enum Stage {
    Encoded(EncodedValue),
    Decoded(Box<dyn Any>),
}

/// An encoded value that may be decoded more than once, where that fails.
#[derive(Debug)]
pub(crate) struct EncodedValue {
    pub(crate) place: ValuePlace,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Where its bytes are.
#[derive(Debug)]
pub(crate) enum ValuePlace {
    Here(Vec<u8>),
    /// A memory file, and its length in bytes.
    File(OwnedFd, u64),
}

impl EncodedValue {
    fn decode<C: Message>(&self) -> Result<C, String> {
        let copies = self.descriptors.iter().map(|it| carried::copy(it.as_fd()));
        let descriptors = copies
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| format!("could not be given its descriptors: {e}"))?;
        let encoded = match &self.place {
            ValuePlace::Here(bytes) => Encoded::Here(bytes),
            ValuePlace::File(file, len) => Encoded::File(
                attachment::map(file, *len)
                    .map_err(|e| format!("of {len} bytes could not be received: {e}"))?,
            ),
        };
        codec::decode_encoded(encoded, descriptors)
    }
}

impl KeptValue {
    pub(crate) fn encoded(value: EncodedValue) -> KeptValue {
        KeptValue {
            stage: Stage::Encoded(value),
            is_spoiled: false,
        }
    }

    pub(crate) fn loaded(state: Box<dyn Any>) -> KeptValue {
        KeptValue {
            stage: Stage::Decoded(state),
            is_spoiled: false,
        }
    }

    /// Whether no other task may see it.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.is_spoiled
    }

    /// The state, while `task` may change it. If that panics, no other task sees it.
    pub(super) fn change<S: 'static, R>(
        &mut self,
        task: impl FnOnce(&mut S) -> R,
    ) -> Result<R, String> {
        let state = match &mut self.stage {
            Stage::Decoded(state) => state.downcast_mut(),
            Stage::Encoded(_) => None,
        };
        let state = state.ok_or_else(|| "its state is of another type".to_owned())?;
        self.is_spoiled = true;
        let value = task(state);
        self.is_spoiled = false;
        Ok(value)
    }

    /// The state.
    pub(super) fn state<S: 'static>(&self) -> Result<&S, String> {
        let state = match &self.stage {
            Stage::Decoded(state) => state.downcast_ref(),
            Stage::Encoded(_) => None,
        };
        state.ok_or_else(|| "its state is of another type".to_owned())
    }

    /// The value. It is decoded if it was not; then its bytes are let go of. Where that fails, or
    /// panics, the next task tries it again.
    pub(super) fn decoded<C: Message>(&mut self) -> Result<&C, String> {
        if let Stage::Encoded(encoded) = &self.stage {
            let value: C = encoded.decode().map_err(|e| format!("its context {e}"))?;
            self.stage = Stage::Decoded(Box::new(value));
        }
        match &self.stage {
            Stage::Decoded(value) => value.downcast_ref(),
            Stage::Encoded(_) => None,
        }
        // One number is one value of one type: this is a mailbox that was written over.
        .ok_or_else(|| "its context is of another type".to_owned())
    }
}
