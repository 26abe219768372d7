//! The fuzz target `proxy_header`, implemented in the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel_fuzz::proxy_header::check(data));
