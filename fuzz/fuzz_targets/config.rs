//! The configuration of an encoder.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    likewise_fuzz::open_and_embed(&likewise_fuzz::model_with(&[("config.json", data)]));
});
