// A visit of scanpush for k6: begin a scene, open its socket, have it scanned, acknowledge the login.
//   k6 run --vus 50 --duration 1m -e URL=http://127.0.0.1:8888 bench/scenarios/k6.js
// The scan needs the simulator, to which the QR codes of the server lead.
import { check } from 'k6';
import http from 'k6/http';
import ws from 'k6/ws';
import { Trend } from 'k6/metrics';

const URL = __ENV.URL || 'http://127.0.0.1:8888';
const JSON_BODY = { headers: { 'Content-Type': 'application/json' } };
const opened = new Trend('open', true);
const token = new Trend('scan_to_token', true);

export const options = { thresholds: { checks: ['rate==1'] } };

export default function () {
  const begun = http.post(`${URL}/api/scenes`, '{}', JSON_BODY);
  if (!check(begun, { 'the scene is begun': (answer) => answer.status === 201 })) return;
  const scene = begun.json();
  const simulator = scene.qr.wechat_image.split('/').slice(0, 3).join('/');
  const headers = { 'Sec-WebSocket-Protocol': `scanpush.v1, watch.${scene.watch_token}`, Origin: URL };
  const due = Date.now();
  let scanned = 0;
  let state = '';
  ws.connect(`${URL.replace(/^http/, 'ws')}/ws/${scene.scene_str}`, { headers }, (socket) => {
    socket.on('open', () => opened.add(Date.now() - due));
    socket.on('message', (text) => {
      const status = JSON.parse(text);
      state = status.state;
      if (state === 'waiting' && !scanned) {
        scanned = Date.now();
        const person = { scene_str: scene.scene_str, person: `k6-${__VU}` };
        http.post(`${simulator}/simulator/scan`, JSON.stringify(person), JSON_BODY);
      } else if (status.login) {
        token.add(Date.now() - scanned);
        socket.send(JSON.stringify({ type: 'ack', seq: status.seq }));
      } else if (state === 'consumed') {
        socket.close();
      }
    });
    socket.setTimeout(() => socket.close(), 10000);
  });
  check(state, { 'the login came and was acknowledged': (last) => last === 'consumed' });
}
