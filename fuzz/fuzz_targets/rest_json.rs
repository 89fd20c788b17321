//! A request body of the HTTP API, with and without the payload shorthand.

#![no_main]

use fermata_api::descriptors;
use fermata_api::rest::json::{Style, decode, encode};
use libfuzzer_sys::fuzz_target;

const REQUESTS: [&str; 3] = [
    "temporal.api.workflowservice.v1.StartWorkflowExecutionRequest",
    "temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionRequest",
    "temporal.api.workflowservice.v1.UpdateNamespaceRequest",
];

fuzz_target!(|text: &str| {
    for name in REQUESTS {
        for shorthand in [false, true] {
            let request = descriptors::pool()
                .get_message_by_name(name)
                .expect("the api has this request");
            if let Ok(message) = decode(request, text, shorthand) {
                let style = Style {
                    pretty: false,
                    shorthand,
                };
                let _ = encode(&message, style);
            }
        }
    }
});
