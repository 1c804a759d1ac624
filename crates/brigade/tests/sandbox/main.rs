//! What a worker in a sandbox can reach, and what it cannot.

mod works;

/// A worker process of these tests starts here.
fn main() {
    brigade::init();
    libtest_mimic::run(
        &libtest_mimic::Arguments::from_args(),
        works::tests(),
    )
    .exit();
}
