//! The guide of `docs/`, as documentation: `cargo doc -p guide --open`. Its programs are compiled
//! and run by `cargo test -p guide`.

#[doc = include_str!("../../../docs/01-idea.md")]
pub mod idea {}
#[doc = include_str!("../../../docs/02-choosing.md")]
pub mod choosing {}
#[doc = include_str!("../../../docs/03-tasks.md")]
pub mod tasks {}
#[doc = include_str!("../../../docs/04-pools.md")]
pub mod pools {}
#[doc = include_str!("../../../docs/05-channels.md")]
pub mod channels {}
#[doc = include_str!("../../../docs/06-shared-memory.md")]
pub mod shared_memory {}
#[doc = include_str!("../../../docs/07-crashes.md")]
pub mod crashes {}
#[doc = include_str!("../../../docs/08-limits.md")]
pub mod limits {}
#[doc = include_str!("../../../docs/09-supervision.md")]
pub mod supervision {}
#[doc = include_str!("../../../docs/10-testing.md")]
pub mod testing {}
#[doc = include_str!("../../../docs/11-production.md")]
pub mod production {}
#[doc = include_str!("../../../docs/12-coming-from.md")]
pub mod coming_from {}
#[doc = include_str!("../../../docs/13-questions.md")]
pub mod questions {}
#[doc = include_str!("../../../docs/14-many-machines.md")]
pub mod many_machines {}
