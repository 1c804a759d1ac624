//! `#[brigade::test]`: a test that calls `init` first.

use brigade::Pool;

#[brigade::test]
fn a_test_may_start_processes() {
    let here = brigade::process::spawn(|()| std::process::id(), ()).expect("starts");
    assert_ne!(here.join().expect("returns"), std::process::id());
}

#[brigade::test]
fn a_test_may_fail_by_an_error() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::processes(1)?;
    assert_eq!(pool.submit(|n: u32| n + 1, 6).join()?, 7);
    Ok(())
}

#[brigade::test]
#[should_panic(expected = "it was asked to")]
fn other_attributes_stay() {
    let panicked = brigade::process::spawn(|()| -> () { panic!("it was asked to") }, ());
    panicked
        .expect("starts")
        .join()
        .map_err(|e| e.to_string())
        .unwrap();
}
