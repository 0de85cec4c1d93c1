// Reads the body of a streamed chat completion once it is complete.
//
// Rule: a stream is whole only if it carried content, reached `[DONE]` and held no error
// event. k6 hands over a streamed body in one piece, so "it ended" proves nothing: the
// terminal event does.
// Must not live here: requests.

/** Returns {content, done, error, malformed} of a `text/event-stream` body. */
export function readStream(body) {
  const stream = { content: '', done: false, error: null, malformed: 0 };
  for (const line of String(body || '').split(/\r?\n/)) {
    if (!line.startsWith('data:')) continue;
    const data = line.slice('data:'.length).trim();
    if (data === '[DONE]') {
      stream.done = true;
      continue;
    }
    readEvent(data, stream);
  }
  return stream;
}

function readEvent(data, stream) {
  let event;
  try {
    event = JSON.parse(data);
  } catch (_) {
    stream.malformed += 1;
    return;
  }
  if (event.error) stream.error = event.error;
  for (const choice of event.choices || []) {
    stream.content += (choice.delta && choice.delta.content) || '';
  }
}

/** True when the stream is whole. */
export function isWhole(stream) {
  return stream.done && !stream.error && !stream.malformed && stream.content !== '';
}
