//! Bytes seen as numbers of another type.

mod sealed {
    /// What any bytes are, without any between its fields.
    pub trait Plain: bytemuck::Pod {}
}

use super::ShmSafe;

/// An integer or a float: `u8` to `u128`, `i8` to `i128`, `usize`, `isize`, `f32` and `f64`.
pub trait Number: ShmSafe + sealed::Plain {}

macro_rules! numbers {
    ($($ty:ty),+) => {$(
        impl sealed::Plain for $ty {}
        impl Number for $ty {}
    )+};
}

numbers!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64
);

/// A slice of numbers, in a [`Shared`](super::Shared), a [`Buffer`](super::Buffer) or anywhere, as
/// numbers of another type, in the byte order of the machine. No byte is copied.
///
/// `None`: the bytes are no whole number of those, or are not aligned for them. A region begins at
/// a page, which is aligned for all.
///
/// ```
/// use brigade::shm;
///
/// # fn main() -> std::io::Result<()> {
/// let bytes = brigade::Shared::from_slice(&1.5_f64.to_ne_bytes())?;
/// assert_eq!(shm::view::<u8, f64>(&bytes), Some(&[1.5][..]));
/// assert_eq!(shm::view::<f64, u64>(&[1.0]), Some(&[1.0_f64.to_bits()][..]));
/// assert_eq!(shm::view::<u8, f64>(&bytes[..7]), None);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "cast_slice")]
#[doc(alias = "transmute")]
pub fn view<A: Number, B: Number>(slice: &[A]) -> Option<&[B]> {
    bytemuck::try_cast_slice(slice).ok()
}

/// As [`view`], to be written.
///
/// ```
/// use brigade::{Shared, shm};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut bits = Shared::<[u32]>::writable(2)?;
/// shm::view_mut::<u32, f32>(&mut bits).expect("of one size")[1] = 1.0;
/// assert_eq!(*bits.freeze()?, [0, 0x3f80_0000]);
/// # Ok(())
/// # }
/// ```
pub fn view_mut<A: Number, B: Number>(slice: &mut [A]) -> Option<&mut [B]> {
    bytemuck::try_cast_slice_mut(slice).ok()
}
