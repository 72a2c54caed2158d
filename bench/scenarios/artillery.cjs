// The part of a visit that is spoken on the socket.
const WebSocket = require('ws');

const PATIENCE_MS = 10000;

function watch(context, events, done) {
  const { scene, target } = context.vars;
  const simulator = new URL(scene.qr.wechat_image).origin;
  const socket = new WebSocket(
    `${target.replace(/^http/, 'ws')}/ws/${scene.scene_str}`,
    ['scanpush.v1', `watch.${scene.watch_token}`],
    { origin: target },
  );
  const due = Date.now();
  let scanned = 0;
  let state = '';
  const patience = setTimeout(() => socket.terminate(), PATIENCE_MS);
  socket.on('error', () => {});
  socket.on('open', () => events.emit('histogram', 'open', Date.now() - due));
  socket.on('message', (text) => {
    const status = JSON.parse(text);
    state = status.state;
    if (state === 'waiting' && !scanned) {
      scanned = Date.now();
      const body = JSON.stringify({ scene_str: scene.scene_str, person: `artillery-${scanned % 500}` });
      const headers = { 'Content-Type': 'application/json' };
      fetch(`${simulator}/simulator/scan`, { method: 'POST', headers, body }).catch(() => socket.terminate());
    } else if (status.login) {
      events.emit('histogram', 'scan_to_token', Date.now() - scanned);
      socket.send(JSON.stringify({ type: 'ack', seq: status.seq }));
    }
  });
  socket.on('close', () => {
    clearTimeout(patience);
    const acknowledged = state === 'consumed';
    events.emit('counter', acknowledged ? 'visits.consumed' : 'visits.lost', 1);
    done(acknowledged ? undefined : new Error(`the visit ended in ${state || 'nothing'}`));
  });
}

module.exports = { watch };
