package sdk

import (
	"errors"
	"reflect"
	"strconv"
	"time"
)

// Settings fills the fields of a struct from the method's settings, by the tag setting:"name". Fields are
// string, bool, int, float64, time.Duration (as "30s") or []string; what is not set stays as it is.
//
//	s := struct {
//		URL     string        `setting:"url"`
//		Timeout time.Duration `setting:"timeout"`
//	}{Timeout: 10 * time.Second}
//	err := a.Settings(&s)
func (a Attempt) Settings(target any) error {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return errors.New("settings: a pointer to a struct is needed")
	}
	v = v.Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("setting")
		if name == "" {
			continue
		}
		if err := a.setting(name, v.Field(i)); err != nil {
			return errors.New("setting " + name + ": " + err.Error())
		}
	}
	return nil
}

func (a Attempt) setting(name string, field reflect.Value) error {
	if field.Type() == reflect.TypeFor[[]string]() {
		if list := a.SettingList(name); list != nil {
			field.Set(reflect.ValueOf(list))
		}
		return nil
	}
	text, err := a.host.Get("settings." + name)
	if err != nil {
		if errors.Is(err, ErrAbsent) {
			return nil
		}
		return err
	}
	if field.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		field.SetInt(int64(d))
		return err
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		field.SetBool(b)
		return err
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 0)
		field.SetInt(n)
		return err
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		field.SetFloat(f)
		return err
	default:
		return errors.New("a field of type " + field.Type().String() + " can't hold a setting")
	}
	return nil
}
