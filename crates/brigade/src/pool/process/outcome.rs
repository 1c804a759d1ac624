//! How a task ended, before its result is decoded, and how it is decoded.

use smallvec::SmallVec;

use crate::JoinError;
use crate::pool::policy::outcome::TaskOutcome;
use crate::sys::value_file::ValueFile;
use crate::task::codec::Encoded;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;
use crate::task::symbols::Symbols;
use crate::transport::attachment;
use crate::transport::bounds::Unclaimed;
use crate::transport::ring::NextFrame;
use crate::worker::process::host::result::{Decode, decoded};

/// Encoded values: most are small.
pub(super) type Bytes = SmallVec<[u8; INLINE]>;
const INLINE: usize = 32;

/// Takes a frame. A small one is read by way of `scratch`.
pub(super) fn take_frame(frame: NextFrame<'_, '_>, scratch: &mut Vec<u8>) -> Bytes {
    if frame.len() > INLINE {
        let mut bytes = Vec::with_capacity(frame.len());
        frame.append_to(&mut bytes);
        return Bytes::from_vec(bytes);
    }
    scratch.clear();
    frame.append_to(scratch);
    Bytes::from_slice(scratch)
}

/// Why an input could not be encoded.
pub(super) enum TransferError {
    Why(String),
    Panicked(Unwound),
}

impl TransferError {
    pub(super) fn into_error(self, name: TaskName) -> JoinError {
        match self {
            TransferError::Why(why) => JoinError::Undeliverable(format!("task `{name}`: {why}")),
            TransferError::Panicked(unwound) => {
                JoinError::panicked(name, unwound, Symbols::of_this_process())
            }
        }
    }
}

/// How a task ended, before its result is decoded: the caller that asked for it does that.
pub(super) enum RawOutcome {
    Returned(Bytes),
    /// With descriptors, or large.
    WithDescriptors(Box<ResultWithDescriptors>),
    Failed(Box<JoinError>),
}

/// A result that needs descriptors, or did.
pub(super) struct ResultWithDescriptors {
    pub(super) content: ResultPlace,
    pub(super) descriptors: Unclaimed,
}

/// Where a result's bytes are.
pub(super) enum ResultPlace {
    Here(Bytes),
    /// The first descriptor is a file of this length in bytes.
    File(u64),
    /// In a file that needs no descriptor any more, for there were too many.
    Mapped(ValueFile),
}

impl ResultPlace {
    pub(super) fn len(&self) -> usize {
        match self {
            ResultPlace::Here(bytes) => bytes.len(),
            ResultPlace::File(len) => usize::try_from(*len).unwrap_or(usize::MAX),
            ResultPlace::Mapped(file) => file.len(),
        }
    }
}

impl RawOutcome {
    pub(super) fn failed(why: JoinError) -> RawOutcome {
        RawOutcome::Failed(Box::new(why))
    }

    pub(super) fn outcome(&self) -> TaskOutcome {
        match self {
            RawOutcome::Returned(_) | RawOutcome::WithDescriptors(_) => TaskOutcome::Returned,
            RawOutcome::Failed(why) => TaskOutcome::of_error(why),
        }
    }

    /// About how much memory it holds.
    pub(super) fn size(&self) -> usize {
        match self {
            RawOutcome::Returned(bytes) => bytes.len(),
            RawOutcome::WithDescriptors(delivered) => delivered.content.len(),
            RawOutcome::Failed(_) => 0,
        }
    }

    /// The end as the caller hears it.
    pub(super) fn into_result<R>(
        self,
        decode: Decode<R>,
        name: impl Fn() -> TaskName,
    ) -> Result<R, JoinError> {
        let decoded = |encoded, descriptors| decoded(encoded, descriptors, decode, &name);
        match self {
            RawOutcome::Returned(bytes) => decoded(Encoded::Here(&bytes), Vec::new()),
            RawOutcome::Failed(why) => Err(*why),
            RawOutcome::WithDescriptors(delivered) => {
                let mut descriptors = delivered.descriptors.claim();
                let len = match delivered.content {
                    ResultPlace::Here(bytes) => return decoded(Encoded::Here(&bytes), descriptors),
                    ResultPlace::Mapped(file) => return decoded(Encoded::File(file), descriptors),
                    ResultPlace::File(len) => len,
                };
                if descriptors.is_empty() {
                    let why = "its result arrived without its memory file".to_owned();
                    return Err(TransferError::Why(why).into_error(name()));
                }
                match attachment::map(descriptors.remove(0), len) {
                    Ok(file) => decoded(Encoded::File(file), descriptors),
                    Err(e) => Err(TransferError::Why(format!(
                        "its result could not be received: {e}"
                    ))
                    .into_error(name())),
                }
            }
        }
    }
}
