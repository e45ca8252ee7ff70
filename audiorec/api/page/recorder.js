// A sound from the microphone, where the browser has one to give: on https and on this machine itself.

const MAX_S = 60;
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // browsers clean sounds up for calls
const PREFERRED = ['audio/webm;codecs=opus', 'audio/ogg;codecs=opus', 'audio/mp4'];

export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

// {file: a promise of the sound, stop}
export async function record(onSecond) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
  const mimeType = PREFERRED.find((type) => MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
  const stop = () => recorder.state !== 'inactive' && recorder.stop();
  let seconds = 0;
  const clock = setInterval(() => {
    seconds += 1;
    onSecond(seconds);
    if (seconds >= MAX_S) stop();
  }, 1000);
  const parts = [];
  const file = new Promise((resolve) => {
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      clearInterval(clock);
      stream.getTracks().forEach((track) => track.stop());
      resolve(new File(parts, 'your recording', { type: recorder.mimeType }));
    };
  });
  recorder.start();
  return { file, stop };
}
