//! What a worker sends back.

#![no_main]

use fermata_proto::rpc::TaskToken;
use fermata_proto::codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = codec::decode::<TaskToken>(bytes) {
        let again: TaskToken = codec::decode(&codec::encode(&value)).expect("what was written is read");
        assert_eq!(again, value);
    }
});
