// Runs before anything is drawn: what needs a script may show itself, and the sentence for pages without one hides.
document.documentElement.classList.add("scripted");
// The viewer's decoder for compressed meshes would start WebAssembly as it loads, which the page's policy forbids; our
// meshes are not compressed. Without WebAssembly it does not try.
delete globalThis.WebAssembly;
