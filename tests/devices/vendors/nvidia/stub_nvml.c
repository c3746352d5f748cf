/* A libnvidia-ml.so.1 of one GPU in MIG mode with one instance, for the calls that Fairlead makes: structures and
 * calling conventions are nvml.h's, so that what pynvml passes is what the real library would get. */
#include <string.h>

typedef int ret;
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, TIMEOUT = 10, LOST = 15, MISMATCH = 18 };
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version, id, p2p, slices, instances, sm, ce, dec, enc, jpeg, ofa; unsigned long long mib; char name[96]; } profile_t;
typedef struct { unsigned start, size; } span_t;
typedef struct { void *device; unsigned id, profile; span_t place; } gi_t;
typedef struct { unsigned id, slices, instances, sm, ce, dec, enc, jpeg, ofa; } ci_profile_t;
typedef struct { void *device, *gi; unsigned id, profile; span_t place; } ci_t;
typedef struct { unsigned version; unsigned char cluster[16]; ret status; unsigned clique; unsigned char state; unsigned mask; } fabric_t;
typedef struct { void *device; unsigned long long type, data; unsigned gi, ci; } event_t;
typedef struct { unsigned field, scope; long long at, latency; unsigned kind; ret code; union { unsigned u; double d; unsigned long long l; } value; } field_t;

static int gpu, mig, instance, compute, set, events;

ret nvmlInitWithFlags(unsigned flags) {
#ifdef STUB_MISMATCH
    return MISMATCH;
#endif
    return flags == 1 ? OK : INVALID;
}
ret nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(ret code) { return "stub"; }
ret nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "580.95.05", size); return OK; }
ret nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return OK; }
ret nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &gpu; return index ? LOST : OK; }
ret nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { *device = &gpu; return strcmp(uuid, "GPU-stub") ? NOT_FOUND : OK; }
ret nvmlDeviceGetUUID(void *device, char *text, unsigned size) { strncpy(text, device == &gpu ? "GPU-stub" : "MIG-stub", size); return OK; }
ret nvmlDeviceGetIndex(void *device, unsigned *index) { *index = 0; return OK; }
ret nvmlDeviceGetMinorNumber(void *device, unsigned *minor) { *minor = 3; return OK; }
ret nvmlDeviceGetName(void *device, char *text, unsigned size) { strncpy(text, "NVIDIA H100 80GB HBM3", size); return OK; }
ret nvmlDeviceGetBrand(void *device, unsigned *brand) { *brand = 14; return OK; }
ret nvmlDeviceGetArchitecture(void *device, unsigned *architecture) { *architecture = 9; return OK; }
ret nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) { *major = 9; *minor = 0; return OK; }
ret nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) { memory->total = 85520809984ULL; return OK; }
ret nvmlDeviceGetPciInfo_v3(void *device, pci_t *pci) { strcpy(pci->bus_id, "00000000:1B:00.0"); return OK; }
ret nvmlDeviceGetSerial(void *device, char *text, unsigned size) { return NOT_SUPPORTED; }
ret nvmlDeviceGetModuleId(void *device, unsigned *module) { *module = 4; return OK; }
ret nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) { *current = *pending = 1; return OK; }
ret nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) { *count = 7; return OK; }
ret nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **found) { *found = &mig; return index == 2 ? OK : NOT_FOUND; }
ret nvmlDeviceGetGpuInstanceId(void *device, unsigned *id) { *id = 5; return device == &mig ? OK : INVALID; }
ret nvmlDeviceGetComputeInstanceId(void *device, unsigned *id) { *id = 0; return device == &mig ? OK : INVALID; }
ret nvmlDeviceGetGpuInstanceProfileInfoV(void *device, unsigned profile, profile_t *info) {
    if (info->version != 0x02000098) return 25;
    if (profile != 1) return NOT_SUPPORTED;
    profile_t found = { info->version, 14, 0, 2, 3, 32, 2, 2, 0, 2, 0, 20096, "MIG 2g.20gb" };
    *info = found;
    return OK;
}
ret nvmlDeviceGetGpuInstancePossiblePlacements_v2(void *device, unsigned profile, span_t *spans, unsigned *count) {
    unsigned room = *count;
    *count = 3;
    if (spans) { if (room < 3) return SMALL; for (unsigned i = 0; i < 3; i++) { spans[i].start = 2 * i; spans[i].size = 2; } }
    return profile == 14 ? OK : INVALID;
}
ret nvmlDeviceGetGpuInstances(void *device, unsigned profile, void **found, unsigned *count) { found[0] = &instance; *count = 1; return OK; }
ret nvmlDeviceGetGpuInstanceById(void *device, unsigned id, void **found) { *found = &instance; return id == 5 ? OK : NOT_FOUND; }
ret nvmlDeviceCreateGpuInstanceWithPlacement(void *device, unsigned profile, const span_t *place, void **found) {
    *found = &instance;
    return place->start == 4 && place->size == 2 && profile == 14 ? OK : 23;
}
ret nvmlGpuInstanceGetInfo(void *found, gi_t *info) { gi_t known = { &gpu, 5, 14, { 4, 2 } }; *info = known; return found == &instance ? OK : INVALID; }
ret nvmlGpuInstanceDestroy(void *found) { return found == &instance ? OK : INVALID; }
ret nvmlGpuInstanceGetComputeInstanceProfileInfo(void *found, unsigned profile, unsigned engine, ci_profile_t *info) {
    if (profile != 1) return NOT_SUPPORTED;
    ci_profile_t known = { 1, 2, 1, 32, 2, 2, 0, 2, 0 };
    *info = known;
    return OK;
}
ret nvmlGpuInstanceGetComputeInstances(void *found, unsigned profile, void **computes, unsigned *count) { computes[0] = &compute; *count = 1; return OK; }
ret nvmlGpuInstanceGetComputeInstanceById(void *found, unsigned id, void **one) { *one = &compute; return id ? NOT_FOUND : OK; }
ret nvmlGpuInstanceCreateComputeInstance(void *found, unsigned profile, void **one) { *one = &compute; return profile == 1 ? OK : INVALID; }
ret nvmlComputeInstanceGetInfo_v2(void *one, ci_t *info) { ci_t known = { &mig, &instance, 0, 1, { 0, 2 } }; *info = known; return OK; }
ret nvmlComputeInstanceDestroy(void *one) { return one == &compute ? OK : INVALID; }
ret nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *up) { *up = 1; return link < 2 ? OK : INVALID; }
ret nvmlDeviceGetNvLinkRemoteDeviceType(void *device, unsigned link, unsigned *kind) { *kind = 2; return OK; }
ret nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, pci_t *pci) { strcpy(pci->bus_id, "00000000:A1:00.0"); return OK; }
ret nvmlDeviceGetGpuFabricInfoV(void *device, fabric_t *info) {
    for (int i = 0; i < 16; i++) info->cluster[i] = (unsigned char)(i + 1);
    info->clique = 7; info->state = 3; info->status = 0; info->mask = 0x2A;
    return OK;
}
ret nvmlDeviceGetTotalEccErrors(void *device, unsigned type, unsigned counter, unsigned long long *count) { *count = 1ULL << 40; return type == 1 && counter == 0 ? OK : INVALID; }
ret nvmlDeviceGetRemappedRows(void *device, unsigned *c, unsigned *u, unsigned *pending, unsigned *failure) { *c = 1; *u = 2; *pending = 1; *failure = 0; return OK; }
ret nvmlDeviceGetRetiredPagesPendingStatus(void *device, unsigned *pending) { return NOT_SUPPORTED; }
ret nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) { *reasons = 0x44; return OK; }
ret nvmlDeviceGetFieldValues(void *device, int count, field_t *values) {
    values[0].code = values[0].field == 230 ? OK : NOT_SUPPORTED;
    values[0].value.u = 4;
    return count == 1 ? OK : INVALID;
}
ret nvmlDeviceGetSupportedEventTypes(void *device, unsigned long long *types) { *types = 0x18F; return OK; }
ret nvmlEventSetCreate(void **found) { *found = &set; return OK; }
ret nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *to) { return types == 0xA && to == &set ? OK : INVALID; }
ret nvmlEventSetWait_v2(void *from, event_t *event, unsigned ms) {
    event_t known = { &gpu, 8, 79, 5, 0 };
    if (from != &set || events++) return TIMEOUT;
    *event = known;
    return OK;
}
ret nvmlEventSetFree(void *found) { return OK; }
ret nvmlDeviceSetComputeMode(void *device, unsigned mode) { return mode == 3 ? OK : 4; }
ret nvmlDeviceSetMigMode(void *device, unsigned mode, ret *status) { *status = 19; return OK; }
