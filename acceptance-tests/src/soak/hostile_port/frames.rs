//! HTTP/2 as attackers write it: frame by frame, without any of a client's care. Source: RFC 9113, RFC 7541.

/// Kinds of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const RESET: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Flag of the last frame of a stream.
pub(super) const END_STREAM: u8 = 1;
/// Flag of the last frame of a list of headers.
pub(super) const END_HEADERS: u8 = 4;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const WINDOW: u16 = 4;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("payloads here are small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client says first; `window` is how much of each answer it takes.
pub(super) fn preface(window: u32) -> Vec<u8> {
    let setting = [&WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(kind::SETTINGS, 0, 0, &setting)].concat()
}

/// The headers of a call, without compression.
pub(super) fn call(method: &str) -> Vec<u8> {
    let path = format!("/nats_agent.v1.Agent/{method}");
    // `:method: POST`, `:scheme: http`, then `:path` and `:authority` with their static names.
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, path.as_bytes());
    block.push(0x01);
    text(&mut block, b"nats-agent");
    header(&mut block, b"content-type", b"application/grpc");
    header(&mut block, b"te", b"trailers");
    block
}

/// Adds a header that no table knows.
pub(super) fn header(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    text(block, name);
    text(block, value);
}

fn text(block: &mut Vec<u8>, text: &[u8]) {
    // One byte of length holds 126; longer ones go on in groups of seven bits. Source: RFC 7541, 5.1.
    match text.len() {
        short @ 0..=126 => block.push(short as u8),
        long => {
            block.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend_from_slice(text);
}

/// The beginning of a gRPC message that says how long it is.
pub(super) fn message(length: u32, payload: &[u8]) -> Vec<u8> {
    [&[0], &length.to_be_bytes()[..], payload].concat()
}
