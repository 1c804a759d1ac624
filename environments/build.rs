//! Tells the program which target it was built for: what it builds itself is for the same.

fn main() {
    let target = std::env::var("TARGET").expect("cargo says it");
    println!("cargo::rustc-env=ENVIRONMENTS_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
