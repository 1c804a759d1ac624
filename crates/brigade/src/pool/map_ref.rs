//! Maps over inputs that the caller keeps.

use super::{Map, MapUnordered, Pool};
use crate::Message;

impl Pool {
    /// As [`map`](Self::map), over inputs that the caller keeps: of a slice, a vector, a map.
    ///
    /// In a pool of processes they are encoded from where they are, and nothing is cloned. Threads
    /// are given values, so there each input is cloned when its turn comes, and not before.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use brigade::{JoinError, Pool};
    ///
    /// brigade::init();
    /// let pool = Pool::processes(2)?;
    /// let texts: Vec<String> = ["a", "bcd", "ef"].map(String::from).to_vec();
    /// let results = pool.map_ref(|text: String| text.len(), &texts);
    /// // Which input failed is easily told: they are all there.
    /// let lengths: Result<Vec<usize>, JoinError> = results.collect();
    /// assert_eq!(lengths?, [1, 3, 2]);
    /// assert_eq!(texts.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn map_ref<'a, A, R, I>(&self, task: fn(A) -> R, inputs: I) -> Map<A, R, I::IntoIter>
    where
        A: Message + Clone,
        R: Message,
        I: IntoIterator<Item = &'a A>,
    {
        Map::new(self.clone(), self.start_map(task, inputs.into_iter()))
    }

    /// As [`map_unordered`](Self::map_unordered), over inputs that the caller keeps: as
    /// [`map_ref`](Self::map_ref).
    #[track_caller]
    pub fn map_unordered_ref<'a, A, R, I>(
        &self,
        task: fn(A) -> R,
        inputs: I,
    ) -> MapUnordered<A, R, I::IntoIter>
    where
        A: Message + Clone,
        R: Message,
        I: IntoIterator<Item = &'a A>,
    {
        MapUnordered::new(self.clone(), self.start_map(task, inputs.into_iter()))
    }
}
