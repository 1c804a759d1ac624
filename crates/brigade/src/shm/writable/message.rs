//! A part as a message: it has one owner, before and after.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{OF_THE_PARENT, Writable, file_len};
use crate::shm::owners::{OwnerEntry, Owners};
use crate::shm::region::Region;
use crate::shm::shared::unfit;
use crate::shm::{Shared, ShmSafe};
use crate::task::carry;

/// As bytes: the number of its descriptor, the table of owners, which of them and with which
/// ticket, where it begins, how many elements it has, and how many the region has.
pub(super) type WritableWire<T> = (u32, T, u64, u64, u64, u64, u64);

impl<T: ShmSafe> Serialize for Writable<[T]> {
    /// The message has it once this value is dropped.
    ///
    /// # Errors
    /// Any serializer but that of a task's input or result or of a channel's message; no more
    /// descriptors; in a fork of the process that owns it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let region = self.place.region();
        if !region.is_of_this_process() {
            return Err(S::Error::custom(OF_THE_PARENT));
        }
        let table = self.place.owners.make().map_err(S::Error::custom)?;
        let number = Region::attach(region)?;
        carry::attached_is_exclusive();
        let entry = table.get(self.place.index);
        let ticket = entry
            .map_or(Err("a part of no region"), |entry| {
                entry.send().map_err(|refused| refused.text())
            })
            .map_err(S::Error::custom)?;
        let wire: WritableWire<&Shared<[OwnerEntry]>> = (
            number,
            &table,
            self.place.index as u64,
            ticket,
            self.from as u64,
            self.at.len() as u64,
            self.all as u64,
        );
        wire.serialize(serializer)
    }
}

impl<'de, T: ShmSafe> Deserialize<'de> for Writable<[T]> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Writable<[T]>, D::Error> {
        let (number, table, index, ticket, from, len, all) =
            WritableWire::<Shared<[OwnerEntry]>>::deserialize(deserializer)?;
        let file = carry::take::<D::Error>(number)?;
        let numbers = [index, from, len, all].map(usize::try_from);
        let [Ok(index), Ok(from), Ok(len), Ok(all)] = numbers else {
            return Err(D::Error::custom(unfit()));
        };
        let elements = from..from
            .checked_add(len)
            .ok_or_else(|| D::Error::custom(unfit()))?;
        let Some(entry) = table.get(index).filter(|_| elements.end <= all) else {
            return Err(D::Error::custom(unfit()));
        };
        // Before it is mapped: a process that has no part of it must not keep it from being frozen.
        entry
            .receive(ticket)
            .map_err(|refused| D::Error::custom(refused.text()))?;
        let owners = Owners::of(table.clone());
        Region::receive_exclusive(file)
            .and_then(|region| Writable::arrived(region, elements, all, owners, index))
            .map_err(|e| {
                entry.put_back(true);
                D::Error::custom(e)
            })
    }
}

impl<T: ShmSafe> Writable<[T]> {
    /// A part that this process has just become the owner of, of a region from anywhere.
    pub(in crate::shm) fn arrived(
        region: Arc<Region>,
        elements: Range<usize>,
        all: usize,
        owners: Arc<Owners>,
        index: usize,
    ) -> io::Result<Writable<[T]>> {
        // The region is as large as `all` elements need, so their bytes can be counted.
        if region.len() != file_len::<T>(all)? {
            return Err(unfit());
        }
        Writable::owned(region, elements, all, owners, index).ok_or_else(|| {
            let text = "a part of a region that this process has already";
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}
