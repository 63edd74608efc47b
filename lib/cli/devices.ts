import { HrsamError } from '../errors.js';
import { Device } from '../runtime/device.js';

/**
 * Opens a device, or several of one kind: `cuda:0,cuda:1`. Kinds are not mixed, since results would then depend on which
 * device computed what. `auto` is one device, the first CUDA device or the CPU.
 * @throws HrsamError ERR_DEVICE for a name that is unknown, not there, given twice or not of the others' kind
 */
export function openDevices(list: string): [Device, ...Device[]] {
  const names = list.split(',').map((name) => name.trim());
  const refuse = (reason: string): never => {
    throw new HrsamError('ERR_DEVICE', reason, {
      expected: 'one device, or several of one kind like cuda:0,cuda:1',
      actual: list,
    });
  };
  if (names.includes('')) refuse('a name is missing');
  if (names.length > 1 && names.includes('auto')) refuse('auto is one device');
  if (new Set(names.map((name) => name.split(':')[0])).size > 1) refuse('devices of different kinds');
  const devices = names.map((name) => Device.open(name));
  if (new Set(devices).size < devices.length) refuse('a device is given twice');
  return devices as [Device, ...Device[]];
}
