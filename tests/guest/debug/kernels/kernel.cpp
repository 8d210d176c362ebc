// A kernel that fails deep in: a device that is no disk is read as one.
namespace drivers {

struct Device {
  virtual unsigned read(unsigned sector) const = 0;
};

struct Disk final : Device {
  [[gnu::noinline]] unsigned read(unsigned sector) const override { return sector * 512; }
};

struct Floppy final : Device {
  [[gnu::noinline]] unsigned read(unsigned sector) const override {
    if (sector > 2) __builtin_trap();
    return sector;
  }
};

template <typename Count>
[[gnu::noinline]] unsigned readAll(const Device& device, Count count) {
  unsigned sum = 0;
  for (Count sector = 0; sector < count; sector++) sum += device.read(sector);
  return sum;
}

}  // namespace drivers

extern "C" void __cxa_pure_virtual() { __builtin_trap(); }

extern "C" void _start() {
  drivers::Disk disk;
  drivers::Floppy floppy;
  unsigned sum = drivers::readAll(disk, 4u) + drivers::readAll(floppy, 4ul);
  asm volatile("outl %0, $0x80" : : "a"(sum));
  for (;;) asm volatile("hlt");
}
