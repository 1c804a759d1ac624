//! What is counted: everything that happens inside of one of these functions. callgrind knows them
//! by their names.

/// One thing that is counted.
pub struct Mark {
    /// Its function's name.
    pub name: &'static str,
    /// What it is called.
    pub path: &'static str,
    /// Whose half of it this is.
    pub half: &'static str,
    /// How often it is run.
    pub times: u32,
}

/// How often a path is run before it is counted.
pub const WARM: u32 = 64;

macro_rules! marks {
    ($($name:ident: $path:literal, $half:literal, $times:literal;)*) => {
        /// All of them.
        pub const ALL: &[Mark] = &[$(Mark {
            name: stringify!($name),
            path: $path,
            half: $half,
            times: $times,
        }),*];

        $(
            /// Counted.
            #[cfg(brigade_counts)]
            #[inline(never)]
            pub fn $name<R>(f: impl FnOnce() -> R) -> R {
                // So that no two of them are the same code, which would be given one name.
                std::hint::black_box(stringify!($name));
                f()
            }
        )*
    };
}

marks! {
    spawn_host: "process::spawn + join", "host", 256;
    spawn_worker: "process::spawn + join", "worker", 256;
    submit_host: "submit + join", "host", 1024;
    submit_worker: "submit + join", "worker", 1024;
    map_host: "map, each of 64 Ki", "host", 65536;
    map_worker: "map, each of 64 Ki", "worker", 65536;

    pipe_send: "pipe, u64", "sender", 1024;
    pipe_receive: "pipe, u64", "receiver", 1024;
    socket_send: "socket, u64", "sender", 1024;
    socket_receive: "socket, u64", "receiver", 1024;
    queue_send: "queue, u64", "sender", 1024;
    queue_receive: "queue, u64", "receiver", 1024;
    shm_send: "shm, u64", "sender", 1024;
    shm_receive: "shm, u64", "receiver", 1024;
    pipe_4k_send: "pipe, 4 KiB", "sender", 1024;
    pipe_4k_receive: "pipe, 4 KiB", "receiver", 1024;
    shm_4k_send: "shm, 4 KiB", "sender", 1024;
    shm_4k_receive: "shm, 4 KiB", "receiver", 1024;

    mutex: "Mutex", "lock + unlock", 1024;
    shared_mutex: "Mutex in Shared", "lock + unlock", 1024;
    read: "RwLock in Shared", "read + unlock", 1024;
    write: "RwLock in Shared", "write + unlock", 1024;
    semaphore: "Semaphore in Shared", "acquire + release", 1024;

    encode_u64: "u64", "encode", 1024;
    decode_u64: "u64", "decode", 1024;
    encode_array: "[f64; 8]", "encode", 1024;
    decode_array: "[f64; 8]", "decode", 1024;
    encode_bytes: "Vec<u8>, 64", "encode", 1024;
    decode_bytes: "Vec<u8>, 64", "decode", 1024;
    encode_text: "String, 32", "encode", 1024;
    decode_text: "String, 32", "decode", 1024;
    encode_fields: "struct of 6 fields", "encode", 1024;
    decode_fields: "struct of 6 fields", "decode", 1024;
    encode_structs: "10 such structs", "encode", 1024;
    decode_structs: "10 such structs", "decode", 1024;
    encode_floats: "Vec<f64>, 1000", "encode", 1024;
    decode_floats: "Vec<f64>, 1000", "decode", 1024;

    region_new: "region of 4 KiB", "make", 256;
    region_pass: "region of 4 KiB", "pass", 256;
    region_open: "region of 4 KiB", "open + read", 256;
    region_drop: "region of 4 KiB", "drop", 256;
}
